"""The bundled recording of a real machine, replayed as the documentation says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.cli.application import complete

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_documented_replay_prints_reduction_accuracy_and_missed_alarms() -> None:
    text = (ROOT / "docs" / "how-to" / "replay.md").read_text()
    (command,) = re.findall(r"```sh\nbarograph (replay examples/[^`]*)```", text)
    words = shlex.split(command.replace("\\\n", " "))
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
    done = CliRunner().invoke(complete(), [*words, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    disk, cpu = found["items"]["df.bytes.used.percent"], found["items"]["cpu.idle"]
    assert disk["alarms_without"] >= 3
    assert disk["reduction"] >= 0.5
    assert disk["accuracy"] >= 0.5
    assert disk["missed_rate"] == 1 - disk["reduction"], "what is foreseen is spared"
    assert cpu["alarms_with"] == cpu["alarms_without"] > 0, "its policy only tells people"
    assert cpu["missed_rate"] is not None
