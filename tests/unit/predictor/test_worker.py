"""The partition worker: snapshots, and batches that are none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.predictor.settings import EngineSettings
from services.predictor.worker import PredictorWorker
from shared.messaging.errors import Reject
from shared.samples import encode, from_rows
from shared.snapshots import SnapshotDirectory

_SETTINGS = EngineSettings(resolution_s=1, forecasters={"arima": {"max_p": 1, "max_q": 1}})


@pytest.fixture
def heavy() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def _batches(points: int) -> list[bytes]:
    noise = np.random.default_rng(2).normal(scale=0.3, size=points)
    return [
        encode(from_rows([("h", "df.bytes.used.percent", "", k * 1000, 30 + k + noise[k])]))
        for k in range(points)
    ]


def _worker(directory: Path, heavy: Executor) -> PredictorWorker:
    return PredictorWorker(0, _SETTINGS, SnapshotDirectory(directory), heavy)


def test_after_a_crash_the_same_batches_give_the_same_events(
    tmp_path: Path, heavy: Executor
) -> None:
    first = _worker(tmp_path, heavy)
    assert first.restore() is None
    events = []
    for offset, batch in enumerate(_batches(50)):
        events.append(list(first.process(offset, batch)))
        if offset == 15:
            first.snapshot(offset)
    again = _worker(tmp_path, heavy)
    assert again.restore() == 15
    repeated = [
        list(again.process(offset, batch))
        for offset, batch in enumerate(_batches(50))
        if offset > 15
    ]
    assert any(events)
    assert repeated == events[16:]


def test_a_damaged_snapshot_gives_way_to_the_one_before(tmp_path: Path, heavy: Executor) -> None:
    worker = _worker(tmp_path, heavy)
    for offset, batch in enumerate(_batches(10)):
        worker.process(offset, batch)
        if offset in {3, 9}:
            worker.snapshot(offset)
    newest = max(tmp_path.glob("*.snapshot"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert _worker(tmp_path, heavy).restore() == 3


def test_what_is_no_batch_is_refused_by_its_offset(tmp_path: Path, heavy: Executor) -> None:
    with pytest.raises(Reject, match="batch 7 cannot be read"):
        _worker(tmp_path, heavy).process(7, b"nonsense")
