"""``barograph.toml``: what counts before what, what is named, and what stays masked."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from services.client.settings import ClientSettings
from services.detector.settings import Settings as DetectorSettings
from services.task.settings import TaskSettings
from shared.cli import config as checks
from shared.cli.application import app, main
from shared.embedded.stack import MODULES, Stack
from shared.setting_sources import SERVICES, read_config
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


def test_only_settings_of_services_for_which_some_are_given_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = checks.settings_class
    monkeypatch.setattr(checks, "settings_class", lambda name: loaded.append(name) or load(name))
    path = tmp_path / "barograph.toml"

    def checked(text: str, **environment: str) -> tuple[int, list[str]]:
        loaded.clear()
        path.write_text(text)
        faults = checks.faults_of(read_config(path), {"HOME": "/", **environment})
        return len(faults), list(loaded)

    assert checks.faults_of(None, {"HOME": "/"}) == []
    assert checked("") == (0, [])
    assert checked("[task]\nno_such = 1\n") == (1, ["task"])
    assert checked("", BAROGRAPH_HEALER_NO_SUCH="1") == (1, ["healer"])
    assert checked("no_such = 1\n") == (1, list(SERVICES))
    assert checked("", BAROGRAPH_METRIC_PARTITIONS="none") == (1, list(SERVICES))


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


@pytest.mark.parametrize(
    "content",
    [
        b"a = ",
        b"\xff",
        b"[" * 100_000,
        b"#" * 2**21,
        b"metric_partitions = " + b"9" * 5_000,
        b"metric_partitions = 0x" + b"f" * 5_000,
        b"client" + b".a" * 3_000 + b" = 1",
        'log_level = "INFO"'.encode("utf-16"),
    ],
    ids=["cut", "bytes", "deep", "large", "digits", "hexadecimal", "dotted", "UTF-16"],
)
def test_what_is_no_toml_is_refused_in_words(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"barograph\.toml: "):
        TaskSettings.load("task")
    file.unlink()
    with pytest.raises(SettingsError, match="No such file"):
        TaskSettings.load("task")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "not a file"), (tmp_path, "not a file")):
        with pytest.raises(SettingsError, match=said):
            read_config(path)
    with pytest.raises(SettingsError, match="null byte"):
        read_config(Path("a\x00b"))


def test_a_file_of_another_editor_is_read(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbflog_level = "warn"\r\n[task]\r\nmax_members = 7\r\n')
    settings = TaskSettings.load("task")
    assert (settings.log_level, settings.max_members) == ("WARNING", 7)


def test_a_service_that_is_no_table_and_a_level_that_is_none_are_named(file: Path) -> None:
    file.write_text('log_level = "loud"\ntask = 7\n')
    code, said = config("check")
    assert code == 1
    assert f"{file}: task: the settings of a service are a table: [task]" in said
    assert f"{file}: log_level: Input should be 'DEBUG'" in said


def test_a_terminal_of_another_encoding_costs_no_command(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('[client]\nhealer_url = "http://b\u00fcro\u78c1"\n', encoding="utf-8")
    shown = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(shown, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["barograph", "config", "show", "client"])
    with pytest.raises(SystemExit) as ended:
        main()
    sys.stdout.flush()
    assert not ended.value.code
    assert rb"http://b\xfcro\u78c1" in shown.getvalue()


def test_show_masks_who_is_named_in_an_address(file: Path) -> None:
    names = ("s3_url", "traces_url", "healer_url", "healer_api_url")
    urls = (f'{name} = "https://ann:s3cr3t@host.example/v1"\n' for name in names)
    file.write_text("[client]\n" + "".join(urls))
    code, said = config("show", "client")
    assert code == 0
    assert "s3cr3t" not in said
    assert said.count("https://**********@host.example/v1") == len(names)


def test_show_has_every_field_of_a_channel_and_masks_its_secrets(file: Path) -> None:
    channels = [
        {"type": "webhook", "name": "hook", "url": "https://h.example/s3cr3t", "secret": "s3cr3t"},
        {"type": "slack", "name": "ops", "url": "https://hooks.example/s3cr3t"},
        {"type": "pagerduty", "name": "pager", "routing_key": "s3cr3t"},
        {"type": "mail", "name": "storage", "to": ["storage@example.org"]},
        {"type": "deadman", "name": "watch", "url": "https://watch.example/s3cr3t"},
        {"type": "alertmanager", "name": "bridge", "url": "https://a.example/s3cr3t"},
    ]
    text = ", ".join(
        "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in each.items()) + "}"
        for each in channels
    )
    file.write_text(f"[healer]\nchannels = [{text}]\n")
    code, said = config("show", "--json", "healer")
    assert (code, "s3cr3t" in said) == (0, False), said
    (row,) = (row for row in json.loads(said) if row["setting"] == "channels")
    shown = json.loads(row["value"])
    assert [each["type"] for each in shown] == [each["type"] for each in channels]
    assert [set(given) - set(each) for given, each in zip(channels, shown, strict=True)] == [
        set()
    ] * 6


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


def test_the_file_becomes_values_of_the_chart_without_its_secrets(file: Path) -> None:
    result = CliRunner().invoke(app, ["config", "values"])
    assert "secret-of-the-file" not in result.output
    assert f"note: {file}: client.api_token is a secret and left out" in result.stderr
    values = json.loads(result.stdout)
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


def test_a_state_that_is_no_directory_ends_a_command_in_words() -> None:
    result = CliRunner().invoke(app, ["status", "--state", "/dev/null"])
    assert isinstance(result.exception, SystemExit), result.exception
    assert "is not a stack file" in result.output
