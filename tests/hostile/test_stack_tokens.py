"""Who gets a stack's tokens: its own commands, from a file only its owner reads; nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.cli.application import app
from shared.client import UnreachableError
from shared.client.addresses import Address, of_jobs
from shared.embedded.stackfile import StackFile, write_stack_file
from tests.strangers import as_stranger, open_way_to

_TOKENS = {name: f"secret-of-{name}" for name in ("client_token", "gateway_token", "healer_token")}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory whose stack listens nowhere."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    urls = ("client_url", "gateway_url", "healer_url", "s3_url", "smtp_url", "broker_admin_url")
    content = dict.fromkeys(urls, "http://127.0.0.1:1") | _TOKENS
    content |= {"s3_access_key": "a", "s3_secret_key": "secret-of-s3", "maildir": "m", "logs": "l"}
    file = StackFile.model_validate(
        content | {"supervisor_pid": 1, "broker_urls": {}, "health": {"task": "http://127.0.0.1:1"}}
    )
    write_stack_file(place, file)
    for name in ("BAROGRAPH_URL", "BAROGRAPH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BAROGRAPH_STATE", str(place))
    return place


def test_tshell_finds_its_token_and_shows_it_to_that_stack_alone(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Address("http://127.0.0.1:1", "secret-of-client_token")
    assert of_jobs() == own
    assert "secret" not in repr(own)

    monkeypatch.setenv("BAROGRAPH_URL", "http://127.0.0.1:1/")
    assert of_jobs() == own
    monkeypatch.setenv("BAROGRAPH_URL", "https://elsewhere.example")
    assert of_jobs() == Address("https://elsewhere.example", "")
    monkeypatch.setenv("BAROGRAPH_TOKEN", "given")
    assert of_jobs() == Address("https://elsewhere.example", "given")


def test_without_a_stack_tshell_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BAROGRAPH_URL", raising=False)
    monkeypatch.setenv("BAROGRAPH_STATE", str(tmp_path / "none"))

    with pytest.raises(UnreachableError, match="barograph up"):
        of_jobs()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_status_shows_addresses_and_tokens_only_when_asked(state: Path, options: list[str]) -> None:
    run = CliRunner().invoke
    shown = run(app, ["status", "--state", str(state), *options])
    assert "http://127.0.0.1:1" in shown.output
    assert "secret" not in shown.output
    assert shown.exit_code == 1, "its service is not ready"

    asked = run(app, ["status", "--state", str(state), "--tokens", *options])
    assert all(token in asked.output for token in _TOKENS.values())
    assert "secret-of-s3" not in asked.output
    if options:
        assert json.loads(asked.output)["ready"] == {"task": False}


def test_the_file_with_the_tokens_is_closed_to_others(state: Path) -> None:
    open_way_to(state.parent)
    code = "import os, sys\ntry: open(sys.argv[1])\nexcept PermissionError: print('closed')\n"

    assert as_stranger(code, str(state / StackFile.NAME)) == "closed\n"
