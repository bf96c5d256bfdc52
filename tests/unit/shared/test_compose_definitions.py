"""What compose.yaml's broker is given keeps its passwords, and follows the version otherwise."""

import json
import runpy
from pathlib import Path

import pytest

from shared import topology

_SCRIPT = Path(__file__).parents[3] / "scripts" / "compose_definitions.py"


def test_a_newer_version_gives_the_broker_its_exchanges_and_keeps_the_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = runpy.run_path(str(_SCRIPT))
    main = module["main"]
    monkeypatch.setitem(main.__globals__, "ROOT", tmp_path)
    main()
    written = tmp_path / ".state" / "compose" / "definitions.json"
    passwords = (tmp_path / ".env").read_text()
    written.write_text("{}")
    (tmp_path / "barograph.toml").write_text("log_level = 'INFO'")
    main()

    given = json.loads(written.read_text())
    assert (tmp_path / ".env").read_text() == passwords
    assert (tmp_path / "barograph.toml").read_text() == "log_level = 'INFO'"
    assert {user["name"] for user in given["users"]} == {*topology.Principal, "admin"}
    assert {e["name"] for e in given["exchanges"]} == {e.name for e in topology.exchanges()}
