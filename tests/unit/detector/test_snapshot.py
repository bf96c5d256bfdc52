"""Where snapshots are kept: files and objects behave alike."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from services.detector.worker import DetectorWorker
from shared.samples import encode, from_rows
from shared.snapshots import (
    DamagedSnapshotError,
    SnapshotBucket,
    SnapshotDirectory,
    SnapshotStore,
    pack,
    unpack,
)
from shared.storage import MemoryStore


@pytest.fixture(params=["files", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    if request.param == "files":
        return SnapshotDirectory(tmp_path / "snapshots" / "0")
    return SnapshotBucket(MemoryStore(), "barograph", "snapshots/detector/0")


def test_what_was_packed_is_unpacked() -> None:
    offset, arrays = unpack(pack(41, {"a": np.arange(3), "b": np.array([np.nan])}))
    assert offset == 41
    assert arrays["a"].tolist() == [0, 1, 2]


def test_a_snapshot_of_before_they_were_compressed_is_read() -> None:
    plain = io.BytesIO()
    np.savez(plain, offset=np.int64(7), a=np.arange(3))
    digest = hashlib.sha256(plain.getvalue()).digest()

    offset, arrays = unpack(b"BAROSN01" + digest + plain.getvalue())

    assert (offset, arrays["a"].tolist()) == (7, [0, 1, 2])


def test_columns_as_they_begin_take_hardly_any_room() -> None:
    assert len(pack(7, {"a": np.full(1_000_000, np.nan)})) < 10_000


@pytest.mark.parametrize("at", [0, 5, 10, 45, 100, -1])
def test_any_changed_byte_is_noticed(at: int) -> None:
    data = bytearray(pack(41, {"a": np.arange(30)}))
    data[at] ^= 1
    with pytest.raises(DamagedSnapshotError):
        unpack(bytes(data))


def test_an_empty_store_has_no_snapshot(store: SnapshotStore) -> None:
    assert list(store.newest_first()) == []
    assert DetectorWorker(0, EngineSettings(), store).restore() is None


def test_the_last_two_are_kept_newest_first(store: SnapshotStore) -> None:
    for offset in (5, 900, 1000):
        store.write(offset, str(offset).encode())
    assert [data for _, data in store.newest_first()] == [b"1000", b"900"]


def test_a_worker_goes_on_from_what_the_store_has(store: SnapshotStore) -> None:
    worker = DetectorWorker(0, EngineSettings(), store)
    worker.process(7, encode(from_rows([("h", "x", "", 1_700_000_000_000, 1.0)])))
    worker.snapshot(7)
    assert DetectorWorker(0, EngineSettings(), store).restore() == 7


def test_a_half_written_file_is_no_snapshot(tmp_path: Path) -> None:
    store = SnapshotDirectory(tmp_path)
    store.write(3, b"three")
    (tmp_path / f"{9:020d}.partial").write_bytes(b"nin")
    assert [data for _, data in store.newest_first()] == [b"three"]


def test_a_store_that_fails_does_not_stop_the_judging(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    worker = DetectorWorker(0, EngineSettings(), SnapshotDirectory(blocked / "0"))
    worker.snapshot(1)
    batch = encode(from_rows([("h", "x", "", 1_700_000_000_000, 1.0)]))
    assert list(worker.process(2, batch)) == []


def test_a_snapshot_of_the_older_default_detector_begins_that_anew_and_keeps_the_rest(
    tmp_path: Path,
) -> None:
    # The older layout had six counts and five exact numbers, and none of the newer columns.
    engine = Engine(EngineSettings())
    engine.process(from_rows([("h", "x", "", 1_700_000_000_000, 1.0)]))
    arrays = engine.snapshot()
    for name in ("week", "course", "pace", "tally", "tops"):
        del arrays[f"detector.surprise/{name}"]
    arrays["detector.surprise/counts"] = np.ones((1, 6), dtype=np.int32)
    arrays["detector.surprise/exact"] = np.ones((1, 5))
    store = SnapshotDirectory(tmp_path)
    store.write(7, pack(7, arrays))
    worker = DetectorWorker(0, EngineSettings(), store)

    assert worker.restore() == 7
    worker.snapshot(8)

    _, data = next(store.newest_first())
    _, restored = unpack(data)
    assert restored["detector.surprise/counts"].tolist() == [[0] * 5]
    np.testing.assert_array_equal(restored["recent/value"], arrays["recent/value"])
    assert restored["alignment/last_ms"].tolist() == arrays["alignment/last_ms"].tolist()


def _sealed(whole: bytes, length: int | None = None) -> bytes:
    """A snapshot as whoever may write to the store can make it: its digest fits."""
    body = struct.pack("<Q", len(whole) if length is None else length)
    body += pa.Codec("zstd").compress(whole).to_pybytes()
    return b"BAROSN02" + hashlib.sha256(body).digest() + body


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


STRANGE = {
    "a length of 200 GB": _sealed(_npz(offset=np.int64(1)), 200 * 10**9),
    "a length of nothing": _sealed(_npz(offset=np.int64(1)), 0),
    "entries a thousand times larger": _sealed(_npz(offset=np.int64(1), a=np.zeros(10**6))),
    "two offsets": _sealed(_npz(offset=np.array([1, 2]))),
    "no archive": _sealed(b"PK"),
    "objects": _sealed(_npz(offset=np.array(["x"]))),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strangers_snapshot_is_refused_and_the_one_before_is_taken(
    what: str, store: SnapshotStore
) -> None:
    engine = EngineSettings()
    store.write(5, pack(5, Engine(engine).snapshot()))
    store.write(6, STRANGE[what])
    assert DetectorWorker(0, engine, store).restore() == 5


@pytest.mark.parametrize("part", ["deriver/", "series/", "liveness/"])
def test_a_snapshot_with_parts_that_do_not_fit_is_refused(part: str, tmp_path: Path) -> None:
    engine, store = EngineSettings(), SnapshotDirectory(tmp_path)
    worker = DetectorWorker(0, engine, store)
    list(worker.process(0, encode(from_rows([("h", "cpu.idle", "", 10**12, 1.0)]))))
    good = worker._engine.snapshot()
    own = [name for name in good if name.startswith(part)]
    for strange in (None, np.array(["x"]), np.zeros(1), np.zeros((2, 2), dtype=np.int8)):
        arrays = {k: v for k, v in good.items() if k not in own}
        if strange is not None:
            arrays |= dict.fromkeys(own, strange)
        store.write(7, pack(7, arrays))
        assert DetectorWorker(0, engine, store).restore() is None
