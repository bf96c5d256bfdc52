"""Settings: every fault is named at once, each on its line, and a service ends with status 2."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SERVICES = ["client", "task", "autospec", "detector", "predictor", "healer"]


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
