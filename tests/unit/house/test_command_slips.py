"""Slips on the command line of `barograph`: each is answered by one sentence, with nothing done."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.healer.remediations.audit import Audit
from services.healer.settings import HealerSettings
from shared.cli import application, healing, stack
from shared.cli.application import main
from shared.client import addresses
from shared.embedded.stack import MODULES
from shared.embedded.stackfile import StackFile, write_stack_file


def barograph(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(application.complete(), list(arguments))
    return ran.exit_code, ran.output


def test_the_version_is_said() -> None:
    code, said = barograph("--version")
    assert code == 0
    assert re.fullmatch(r"barograph \d+\.\d+\.\d+\n", said)


def test_a_queue_that_nobody_has_is_named_and_so_are_those_there_are() -> None:
    for command in ("inspect", "replay"):
        code, said = barograph("dead-letters", command, "task.job")
        assert code == 1
        assert "task.job is no work queue" in said
        assert "task.jobs" in said


def test_a_file_that_is_there_already_is_named_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(healing, "call_for_bytes", lambda *_: b"{}\n")
    kept = tmp_path / "audit.jsonl"
    kept.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["barograph", "healing", "audit", str(kept)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"{kept}: File exists\n"
    assert kept.read_text() == "mine"


def test_what_the_start_says_to_type_can_be_typed_wherever_the_checkout_and_the_state_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "mein Ordner" / "Übung's"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(place))
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = [line[18:] for line in stack._next_steps(place / "state").splitlines()]
    words = [shlex.split(line) for line in lines if "barograph" in line or str(place) in line]
    assert [".", str(place / "bin" / "activate")] in words
    assert [f"BAROGRAPH_STATE={place / 'state'}", "tshell", "submit"] in [w[:3] for w in words]
    assert ["barograph", "down", "--state", str(place / "state")] in words


def test_a_directory_that_cannot_be_made_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = barograph("up", "--state", str(tmp_path / "file" / "state"))
    assert code == 1
    assert "cannot be used: Not a directory; name another directory with --state" in said


def test_a_token_that_was_given_is_the_one_that_is_presented(tmp_path: Path) -> None:
    fields = dict.fromkeys(StackFile.model_fields, "http://127.0.0.1:1")
    known = {"supervisor_pid": 1, "broker_urls": {}, "health": {}, "healer_token": "the stack's"}
    write_stack_file(tmp_path, StackFile.model_validate(fields | known))
    assert addresses.of_alerts(token="mine", state=tmp_path).token == "mine"
    assert addresses.of_alerts(state=tmp_path).token == "the stack's"


def test_a_server_that_is_not_there_is_named_where_two_are_asked() -> None:
    doors = ("--prometheus", "http://127.0.0.1:1", "--gateway", "http://127.0.0.1:2")
    asked = ("backfill", "up", *doors, "--days", "0.1")
    code, said = barograph(*asked)
    assert code == 2
    assert "backfill stopped: http://127.0.0.1:1: " in said


@pytest.mark.parametrize(("policy", "fault"), [("{", "Invalid JSON"), ('{"rule": []}', "rule")])
def test_a_policy_that_cannot_be_read_is_named_as_it_was_given(
    policy: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = barograph("replay", "none.csv", "--policy", policy)
    assert code == 2
    assert said.startswith(f"cannot replay: --policy: {fault}")
    monkeypatch.setenv("BAROGRAPH_HEALER_POLICY", policy)
    code, said = barograph("replay", "none.csv")
    assert said.startswith(f"cannot replay: BAROGRAPH_HEALER_POLICY: {fault}")


def test_settings_are_shown_as_one_writes_them() -> None:
    settings = HealerSettings()
    given = {name: text for name, text in settings.shown().items() if text and "*" not in text}
    again = HealerSettings.model_validate_strings(given)
    assert again == settings
    assert "rules" in given["policy"]


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("-h", 0), ("strat", 2)])
@pytest.mark.parametrize("module", MODULES.values())
def test_a_service_that_is_given_arguments_says_its_usage_and_does_not_run(
    module: str,
    argument: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [module, argument])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == code
    said = capsys.readouterr()
    assert f"usage: python -m {module}" in (said.err if code else said.out)


@pytest.mark.parametrize(("damage", "code"), [("", 0), ("x", 1)])
def test_an_agents_audit_is_verified_by_a_command(
    damage: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "remediations.jsonl"
    audit = Audit(path)
    for _ in range(2):
        audit.note("begun", remediation="clean-logs")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join((damage + lines[0], *lines[1:])))
    monkeypatch.setattr(sys, "argv", ["agent", "audit-verify", str(path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("services.healer.agent", run_name="__main__")
    assert ended.value.code == code
    assert ("unbroken" in capsys.readouterr().out) is not bool(code)
