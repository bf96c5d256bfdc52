"""``barograph.toml``: what counts before what, what is named, and what stays masked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from services.client.settings import ClientSettings
from services.detector.settings import Settings as DetectorSettings
from services.task.settings import TaskSettings
from shared.cli import app
from shared.embedded.stack import MODULES, Stack
from shared.setting_sources import SERVICES
from shared.settings import SettingsError

FILE = """
log_level = "WARNING"
metric_partitions = 8

[client]
api_token = "secret-of-the-file"
http_port = 8123

[task]
log_level = "DEBUG"
store_url = "sqlite:////tmp/of-the-file.db"

[detector.engine]
max_series = 12345
"""


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "barograph.toml"
    path.write_text(FILE)
    monkeypatch.setenv("BAROGRAPH_CONFIG", str(path))
    return path


def config(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["config", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_environment_counts_before_file_before_default(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, client = TaskSettings.load("task"), ClientSettings.load("client")
    assert (task.log_level, client.log_level, client.http_port) == ("DEBUG", "WARNING", 8123)
    assert client.api_token == SecretStr("secret-of-the-file")
    assert DetectorSettings.load("detector").engine.max_series == 12345
    monkeypatch.setenv("BAROGRAPH_LOG_LEVEL", "ERROR")
    assert TaskSettings.load("task").log_level == "ERROR"
    monkeypatch.setenv("BAROGRAPH_TASK_LOG_LEVEL", "INFO")
    assert TaskSettings.load("task").log_level == "INFO"
    assert ClientSettings.load("client").s3_bucket == "barograph"


def test_check_names_every_fault_with_its_place_and_what_was_meant(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config("check") == (0, "the settings of all services are good\n")
    file.write_text(
        'log_levle = "x"\n[clinet]\n[client]\nhttp_port = "many"\napi_tokn = "a"\n'
        "[detector.engine]\nmax_sereis = 1\n"
    )
    monkeypatch.setenv("BAROGRAPH_LOG_LEVLE", "INFO")
    monkeypatch.setenv("BAROGRAPH_TASK_REPLICSA", "2")
    code, said = config("check")
    assert code == 1
    for line in (
        f"{file}: log_levle: no such setting of all services, and no service; is log_level meant?",
        f"{file}: clinet: no such setting of all services, and no service; is client meant?",
        f"{file}: client.api_tokn: no such setting; is api_token meant?",
        f"{file}: detector.engine: max_sereis: no such setting; is max_series meant?",
        "BAROGRAPH_LOG_LEVLE: no such setting; is BAROGRAPH_LOG_LEVEL meant?",
        "BAROGRAPH_TASK_REPLICSA: no such setting; is BAROGRAPH_TASK_REPLICAS meant?",
    ):
        assert said.count(line) == 1, said
    assert f"{file}: client.http_port: " in said


@pytest.mark.parametrize("content", [b"a = ", b"\xff", b"[" * 100_000, b"#" * 2**21])
def test_what_is_no_toml_is_refused_in_words(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"barograph\.toml: "):
        TaskSettings.load("task")
    file.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        TaskSettings.load("task")


def test_show_tells_each_origin_and_masks_secrets(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAROGRAPH_CLIENT_HEALER_TOKEN", "secret-of-the-environment")
    code, said = config("show", "--all", "--json", "client")
    assert code == 0
    assert "secret-of-the-environment" not in said
    rows = {row["setting"]: row for row in json.loads(said)}
    assert rows["http_port"] == {
        "service": "client",
        "setting": "http_port",
        "value": "8123",
        "origin": f"{file}: client.http_port",
    }
    assert rows["healer_token"]["origin"] == "BAROGRAPH_CLIENT_HEALER_TOKEN"
    assert rows["log_level"]["origin"] == f"{file}: log_level"
    assert rows["s3_bucket"]["origin"] == "default"
    assert "s3_bucket" not in config("show", "client")[1]
    assert config("show", "clinet")[0] == 1


def test_the_file_becomes_values_of_the_chart(file: Path) -> None:
    values = json.loads(config("values")[1])
    assert values["task"]["settings"]["log_level"] == "DEBUG"
    assert values["nodeAgent"]["settings"] == {"log_level": "WARNING", "metric_partitions": "8"}
    assert json.loads(values["detector"]["settings"]["engine"]) == {"max_series": 12345}


def test_a_stack_gives_way_to_what_was_asked_for_by_a_services_name(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(SERVICES) == {*MODULES}
    monkeypatch.setenv("BAROGRAPH_HEALER_SMTP_URL", "smtp://mail.example:25")
    stack = Stack(tmp_path / "state")
    stack.plan_addresses()
    assert stack.file.client_url == "http://127.0.0.1:8123"
    assert stack.file.client_token == "secret-of-the-file"
    for name, value in stack.environment("task").items():
        monkeypatch.setenv(name, value)
    assert TaskSettings.load("task").store_url.get_secret_value() == "sqlite:////tmp/of-the-file.db"
    for name, value in stack.environment("client").items():
        monkeypatch.setenv(name, value)
    client = ClientSettings.load("client")
    assert (client.http_port, client.api_token.get_secret_value()) == (8123, "secret-of-the-file")
    assert stack.environment("healer")["BAROGRAPH_HEALER_SMTP_URL"] == "smtp://mail.example:25"
