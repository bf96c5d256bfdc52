"""Settings: every fault is named at once, each on its line, and a service ends with status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typer.main import get_command

from services.healer.settings import HealerSettings
from services.task.settings import TaskSettings
from shared.cli import application
from shared.setting_names import OF_COMMANDS
from shared.settings import ServiceSettings, SettingsError


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 1
    names: dict[str, tuple[str, ...]] = {}


class _Settings(ServiceSettings):
    inner: _Inner = _Inner()
    maybe: _Inner | None = None
    listed: tuple[int, ...] = ()
    mapped: dict[str, float] = Field(default_factory=dict)
    text: str = ""


def test_lists_maps_and_models_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "INNER": '{"width": 3, "names": {"a": ["b"]}}',
        "MAYBE": '{"width": 4}',
        "LISTED": "[1, 2]",
        "MAPPED": '{"x": 0.5}',
        "TEXT": "[1]",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"BAROGRAPH_TRY_{name}", value)
    found = _Settings.load("try")
    assert found.inner == _Inner(width=3, names={"a": ("b",)})
    assert (found.maybe, found.listed, found.mapped) == (_Inner(width=4), (1, 2), {"x": 0.5})
    assert found.text == "[1]"


def test_a_fault_inside_json_names_the_variable_and_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAROGRAPH_TRY_INNER", '{"width": "wide", "hight": 2}')
    monkeypatch.setenv("BAROGRAPH_TRY_LISTED", "1, 2")
    with pytest.raises(SettingsError) as raised:
        _Settings.load("try")
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["BAROGRAPH_TRY_INNER", "width"],
        ["BAROGRAPH_TRY_INNER", "hight"],
        ["BAROGRAPH_TRY_LISTED", "not JSON"],
    ]


def test_faults_are_put_into_words_in_one_place() -> None:
    root = Path(__file__).parents[3]
    own = {"shared/validation.py"}
    found = {
        str(file.relative_to(root))
        for package in ("services", "shared", "replay")
        for file in (root / package).rglob("*.py")
        if '["msg"]' in file.read_text()
    }
    assert found == own


def test_an_exported_variable_of_a_command_is_no_setting_of_the_service_it_reads_like(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[Any] = [get_command(application.app)]
    seen: set[str] = set()
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        seen |= {each.envvar for each in command.params if isinstance(each.envvar, str)}
    read_alike = {name for name in seen if name.split("_")[1].lower() in SERVICES}
    assert read_alike == OF_COMMANDS
    for name in read_alike:
        monkeypatch.setenv(name, "http://127.0.0.1:8081")
    HealerSettings.load("healer")


@pytest.mark.parametrize(("name", "settings"), [("task", TaskSettings), ("healer", HealerSettings)])
def test_several_replicas_of_a_service_need_a_database_of_several_processes(
    monkeypatch: pytest.MonkeyPatch, name: str, settings: type[ServiceSettings]
) -> None:
    own = f"BAROGRAPH_{name.upper()}_"
    monkeypatch.setenv(f"{own}STORE_URL", "sqlite:////tmp/jobs.db")
    settings.load(name)
    monkeypatch.setenv(f"{own}REPLICAS", "2")
    with pytest.raises(SettingsError, match="2 replicas need PostgreSQL"):
        settings.load(name)
    monkeypatch.setenv(f"{own}STORE_URL", "postgresql+psycopg://barograph@localhost/barograph")
    settings.load(name)


SERVICES = ["client", "task", "autospec", "detector", "predictor", "healer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SERVICES, "agent"])
def test_every_unknown_and_unusable_setting_is_named_and_nothing_starts(name: str) -> None:
    module = "services.healer.agent" if name == "agent" else f"services.{name}"
    own = f"BAROGRAPH_{name.upper()}_"
    given = {f"{own}BROKER_URL__X": "1", f"{own}BROKR_URL": "x", f"{own}HEALTH_PORT": "many"}
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr.splitlines()
    assert f"{own}BROKER_URL__X: no such setting; is {own}BROKER_URL meant?" in lines
    assert f"{own}BROKR_URL: no such setting; is {own}BROKER_URL meant?" in lines
    assert any(line.startswith(f"{own}HEALTH_PORT: ") for line in lines)
    assert len(lines) == 3
