"""Tests of where snapshots are kept: files and objects behave alike."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from services.detector.worker import DetectorWorker
from shared.columns import Column, Columns
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


def _offsets(store: SnapshotStore) -> list[int]:
    return [stored.unpack()[0] for _, stored in store.newest_first()]


def _put(store: SnapshotStore, offset: int, data: bytes) -> None:
    """Keep these bytes where a snapshot is looked for."""
    assert isinstance(store, SnapshotDirectory | SnapshotBucket)
    store.put(f"{offset:020d}.snapshot", [data])


def _sizes(store: SnapshotStore) -> list[int]:
    return [len(stored.data) for _, stored in store.newest_first()]


_MIB = 2**20


def test_what_has_not_changed_is_not_written_again(store: SnapshotStore) -> None:
    noise = np.random.default_rng(1).random((5, _MIB // 8))
    arrays = {"a": noise, "b": noise[:1] + 1, "small": np.arange(9)}
    store.write(1, arrays)
    noise[2] += 1
    store.write(2, arrays)
    assert len(store_names(store)) == 2
    assert _sizes(store)[0] < _sizes(store)[1] / 3, "one piece of six"
    # Rows that are added leave those before as they are.
    arrays["a"] = np.concatenate([noise, noise[:1] + 2])
    store.write(3, arrays)
    offset, restored = next(store.newest_first())[1].unpack()
    assert offset == 3
    for name, array in arrays.items():
        np.testing.assert_array_equal(restored[name], array)
        assert restored[name].flags.owndata


@pytest.mark.slow
def test_earlier_snapshots_stay_as_long_as_pieces_of_theirs_are_needed(
    store: SnapshotStore,
) -> None:
    arrays = {"a": np.random.default_rng(1).random((8, _MIB // 8))}
    for offset in range(1, 30):
        arrays["a"][offset % 8] += 1
        store.write(offset, arrays)
        _, (_, restored) = next((name, stored.unpack()) for name, stored in store.newest_first())
        np.testing.assert_array_equal(restored["a"], arrays["a"])
        assert len(store_names(store)) <= 10
    kept = sum(_sizes(store))
    assert kept < 4 * arrays["a"].nbytes, "what few pieces are needed of is not kept for them"


def test_a_snapshot_whose_earlier_one_was_lost_or_changed_is_refused(tmp_path: Path) -> None:
    store = SnapshotDirectory(tmp_path)
    arrays = {"a": np.random.default_rng(1).random((4, _MIB // 8))}
    store.write(1, arrays)
    arrays["a"][0] += 1
    store.write(2, arrays)
    (first, *_) = sorted(tmp_path.glob("*.snapshot"))
    data = bytearray(first.read_bytes())
    data[3 * _MIB] ^= 1
    first.write_bytes(bytes(data))
    newest = next(store.newest_first())[1]
    with pytest.raises(DamagedSnapshotError):
        newest.unpack()
    first.unlink()
    with pytest.raises(DamagedSnapshotError, match="is not there"):
        newest.unpack()


def test_a_snapshot_that_goes_while_it_is_looked_for_does_not_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SnapshotDirectory(tmp_path)
    store.write(5, Engine(EngineSettings()).snapshot())
    listed = [f"{9:020d}.snapshot", *store.names()]
    monkeypatch.setattr(store, "names", lambda: listed)
    assert DetectorWorker(0, EngineSettings(), store).restore() == 5


def test_two_owners_at_once_remove_nothing_of_each_other(tmp_path: Path) -> None:
    """One that was slow to notice that it lost the partition stores its state once more."""
    slow, heir = SnapshotDirectory(tmp_path), SnapshotDirectory(tmp_path)
    arrays = {"a": np.random.default_rng(1).random((4, _MIB // 8))}
    slow.write(1, arrays)
    arrays["a"][0] += 1
    assert next(heir.newest_first())[1].unpack()[0] == 1
    heir.write(3, arrays)
    arrays["a"][1] += 1
    heir.write(4, arrays)
    slow.write(2, arrays)
    newest = [stored.unpack()[0] for _, stored in islice(heir.newest_first(), 2)]
    assert newest == [4, 3]


def store_names(store: SnapshotStore) -> list[str]:
    return [name for name, _ in store.newest_first()]


def test_an_empty_store_has_no_snapshot(store: SnapshotStore) -> None:
    assert list(store.newest_first()) == []
    assert DetectorWorker(0, EngineSettings(), store).restore() is None


def test_the_last_two_are_kept_newest_first(store: SnapshotStore) -> None:
    for offset in (5, 900, 1000):
        store.write(offset, {})
    assert _offsets(store) == [1000, 900]


def test_snapshots_of_a_stream_that_begins_again_are_newer_than_those_before(
    store: SnapshotStore,
) -> None:
    store.write(900, {})
    store.begin_again()
    for offset in (-1, 0, 7):
        store.write(offset, {})
        assert _offsets(store)[0] == offset
    assert _offsets(store) == [7, 0]


def test_a_worker_goes_on_from_what_the_store_has(store: SnapshotStore) -> None:
    worker = DetectorWorker(0, EngineSettings(), store)
    worker.process(7, encode(from_rows([("h", "x", "", 1_700_000_000_000, 1.0)])))
    worker.snapshot(7)
    assert DetectorWorker(0, EngineSettings(), store).restore() == 7
    worker.begin_again()
    worker.snapshot(-1)
    heir = DetectorWorker(0, EngineSettings(), store)
    assert heir.restore() == -1
    heir.snapshot(3)
    assert DetectorWorker(0, EngineSettings(), store).restore() == 3


def test_a_half_written_file_is_no_snapshot(tmp_path: Path) -> None:
    store = SnapshotDirectory(tmp_path)
    store.write(3, {})
    (tmp_path / f"{9:020d}.partial").write_bytes(b"nin")
    assert _offsets(store) == [3]


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
    arrays = {name: array.copy() for name, array in engine.snapshot().items()}
    for name in ("week", "course", "pace", "tally", "tops"):
        del arrays[f"detector.surprise/{name}"]
    arrays["detector.surprise/counts"] = np.ones((1, 6), dtype=np.int32)
    arrays["detector.surprise/exact"] = np.ones((1, 5))
    store = SnapshotDirectory(tmp_path)
    store.write(7, arrays)
    worker = DetectorWorker(0, EngineSettings(), store)

    assert worker.restore() == 7
    worker.snapshot(8)

    _, stored = next(store.newest_first())
    _, restored = stored.unpack()
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


def _strange(header: object, *pieces: bytes) -> bytes:
    """The same for the present format."""
    text = json.dumps(header).encode()
    body = b"BAROSN03" + struct.pack("<Q", len(text)) + text + b"".join(pieces)
    return body + hashlib.sha256(body).digest()


def _piece(data: bytes) -> bytes:
    compressed = pa.Codec("zstd").compress(data).to_pybytes()
    return struct.pack("<BI", 0, len(compressed)) + compressed


def _head(*arrays: tuple[str, str, list[int]]) -> dict[str, object]:
    return {"offset": 1, "arrays": arrays, "earlier": []}


STRANGE = {
    "a length of 200 GB": _sealed(_npz(offset=np.int64(1)), 200 * 10**9),
    "a length of nothing": _sealed(_npz(offset=np.int64(1)), 0),
    "entries a thousand times larger": _sealed(_npz(offset=np.int64(1), a=np.zeros(10**6))),
    "two offsets": _sealed(_npz(offset=np.array([1, 2]))),
    "no archive": _sealed(b"PK"),
    "text for an offset": _sealed(_npz(offset=np.array(["x"]))),
    "no header": _strange([]),
    "an array of 200 GB": _strange(_head(("a", "<f8", [25 * 10**9]))),
    "a negative length": _strange(_head(("a", "<f8", [-1, -(10**12)]))),
    "objects": _strange(_head(("a", "|O", [1])), _piece(b"12345678")),
    "a piece that is missing": _strange(_head(("a", "<f8", [1]))),
    "a piece that is larger": _strange(_head(("a", "<f8", [1])), _piece(bytes(10**6))),
    "a piece that is smaller": _strange(_head(("a", "<f8", [2])), _piece(b"12345678")),
    "a piece of nowhere": _strange(
        _head(("a", "<f8", [1])), struct.pack("<BBQI16s", 1, 0, 0, 8, b"")
    ),
    "a piece of another directory": _strange(
        _head(("a", "<f8", [1])) | {"earlier": ["../../../etc/passwd"]},
        struct.pack("<BBQI16s", 1, 0, 0, 8, b""),
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strangers_snapshot_is_refused_and_the_one_before_is_taken(
    what: str, store: SnapshotStore
) -> None:
    engine = EngineSettings()
    store.write(5, Engine(engine).snapshot())
    _put(store, 6, STRANGE[what])
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
        store.write(7, arrays)
        assert DetectorWorker(0, engine, store).restore() is None


def test_restored_columns_are_nobody_elses() -> None:
    """Parts of other arrays and what may not be written to are copied; the rest is taken over."""
    shown = np.arange(2001.0)
    readable = np.arange(2000)
    readable.flags.writeable = False
    taken = np.ones(2000)
    columns = Columns(
        [Column("shown", np.float64), Column("readable", np.int64), Column("taken", np.float64)]
    )
    columns.restore({"shown": shown[:-1], "readable": readable, "taken": taken}, 2000)
    columns["shown"][0] = columns["readable"][0] = 7
    assert (shown[0], readable[0]) == (0, 0)
    assert columns["taken"] is taken
    columns.grow(3000)
    assert columns["taken"][1999] == 1
    assert columns["taken"][2999] == 0
