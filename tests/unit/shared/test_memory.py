"""The bound on a process' memory, and what of it the garbage collector looks through."""

from __future__ import annotations

import gc
from pathlib import Path

import psutil
import pytest

from services.detector import settings
from services.detector.settings import series_that_fit
from shared.loading import keep_what_is_loaded
from shared.memory import memory_bytes


def test_the_least_bound_counts(tmp_path: Path) -> None:
    least, most = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    bounds = (str(least), str(most), str(tmp_path / "absent"))
    total = psutil.virtual_memory().total
    least.write_text("max\n")
    assert memory_bytes(bounds) == total
    most.write_text(f"{2**62}\n")
    assert memory_bytes(bounds) == total
    least.write_text(f"{2**28}\n")
    assert memory_bytes(bounds) == 2**28


def test_a_small_process_takes_few_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "memory_bytes", lambda: 2 * 2**30)
    assert 100_000 < series_that_fit() < 200_000
    monkeypatch.setattr(settings, "memory_bytes", lambda: 2**20)
    assert series_that_fit() == 1000


def test_what_is_loaded_is_collected_no_more() -> None:
    before = gc.get_freeze_count()
    loaded = [[number] for number in range(1000)]
    try:
        keep_what_is_loaded()
        assert gc.get_freeze_count() >= before + len(loaded)
    finally:
        gc.unfreeze()
