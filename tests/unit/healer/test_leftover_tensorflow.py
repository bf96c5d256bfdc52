"""stop-leftover-tensorflow: what a process says of itself is only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.healer.remediations.running import read
from services.healer.remediations.stop_leftover_tensorflow import task
from tests.troubles import ended, program, started


@pytest.mark.parametrize(
    "config",
    ["[" * 60_000, "{", '{"task": 1}', '{"task": {}}'],
    ids=["nested", "torn", "number", "empty"],
)
def test_a_process_whose_configuration_is_nonsense_is_none_of_tensorflow(
    config: str, tmp_path: Path
) -> None:
    python = program(tmp_path, "trainer")
    processes = started(tmp_path, [python, "-c", "print(flush=True); input()"], TF_CONFIG=config)
    try:
        process = read(processes[0].pid)
        assert process is not None
        assert task(process) == ""
    finally:
        ended(processes)()
