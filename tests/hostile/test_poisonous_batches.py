"""A batch that a partition's worker cannot take costs its own rows: not its neighbours', nor the
partition's standstill."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts import AnomalyCleared, Message
from shared.messaging import Delivery, Reject
from shared.messaging.crash_marks import MAX_CRASHES
from shared.samples import InvalidBatch, decode, encode, from_rows
from shared.service.partitions import PartitionOwner
from shared.store import StoreUnavailable
from tests.recording_bus import RecordingBus

_Row = tuple[str, str, str, int, float]


class _Disk:
    """Where the snapshots are."""

    def __init__(self) -> None:
        self.offset: int | None = None
        self.sums: dict[tuple[str, str], float] = {}
        self.writable = True


class _Summing:
    """Adds up what each series says; a machine called ``bad…`` breaks it half-way."""

    def __init__(self, disk: _Disk) -> None:
        self._disk = disk
        self.sums: dict[tuple[str, str], float] = {}
        self.offsets: list[int] = []
        self.closed = False

    def restore(self) -> int | None:
        self.sums = dict(self._disk.sums)
        return self._disk.offset

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        try:
            rows = decode(batch, trusted=True)
        except InvalidBatch as error:
            raise Reject(str(error)) from error
        for number in range(len(rows)):
            host = rows.hosts[rows.host_code[number]]
            if host.startswith("kills"):
                os._exit(9)
            if host.startswith("away"):
                raise StoreUnavailable("away")
            if host.startswith("bad"):
                raise ZeroDivisionError(host)
            key = (host, rows.items[rows.item_code[number]])
            self.sums[key] = self.sums.get(key, 0) + float(rows.value[number])
        self.offsets.append(offset)
        return ()

    def snapshot(self, offset: int) -> None:
        if self._disk.writable:
            self._disk.offset, self._disk.sums = offset, dict(self.sums)

    def close(self) -> None:
        self.closed = True


def _delivery(offset: int, body: bytes) -> Delivery:
    return Delivery("metrics.3", offset, "", "3", {"x-stream-offset": offset}, None, None, body)


class Partition:
    """An owner with its stream, which begins anew where the broker would begin it anew."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self.bus, self.disk = RecordingBus(state_dir=state_dir), _Disk()
        self.workers: list[_Summing] = []
        self.stream: list[bytes] = []
        self.owner = PartitionOwner(self.bus, 3, self._make, 1e9)

    def _make(self) -> _Summing:
        self.workers.append(_Summing(self.disk))
        return self.workers[-1]

    def run(self, most_restarts: int = 10) -> None:
        """Read to the end; a failure closes the channel, and the stream is read anew."""
        for _ in range(most_restarts + 1):
            self.owner._restore(lambda: None, 0)
            first = self.owner._arguments()["x-stream-offset"]
            first = 0 if first == "first" else first
            deliveries = [
                Delivery(
                    "metrics.3", n, "", "3", {"x-stream-offset": n}, None, None, self.stream[n]
                )
                for n in range(first, len(self.stream))
            ]
            if not deliveries or self.owner.consumer.handling.once(deliveries):
                # Its metrics are those of one worker, whichever were tried.
                assert [w for w in self.workers if not w.closed] == [self.owner._worker]
                return
        pytest.fail("the partition does not go on")

    @property
    def sums(self) -> dict[tuple[str, str], float]:
        worker: Any = self.owner._worker
        return dict(worker.sums)


def _batch(*rows: _Row) -> bytes:
    return encode(from_rows(rows))


def _row(host: str, value: float = 1.0, item: str = "i") -> _Row:
    return (host, item, "", 1_000, value)


def test_a_poisonous_series_is_set_aside_with_its_place_and_reason_and_the_rest_goes_on() -> None:
    partition = Partition()
    partition.stream = [
        _batch(_row("a"), _row("b")),
        _batch(_row("a", 2), _row("bad1", 5), _row("b", 4)),
        _batch(_row("a", 8)),
    ]
    partition.run()
    assert partition.sums == {("a", "i"): 11, ("b", "i"): 5}
    (aside,) = partition.bus.dead
    assert aside.routing_key == "detector.partitions.dead"
    assert (aside.headers["x-partition"], aside.headers["x-offset"]) == (3, 1)
    assert "ZeroDivisionError: bad1" in aside.headers["x-reason"]
    kept = decode(aside.body, trusted=True)
    assert [kept.hosts[code] for code in kept.host_code] == ["bad1"]
    assert kept.value.tolist() == [5]


def test_a_series_once_found_is_left_out_of_what_follows() -> None:
    partition = Partition()
    partition.stream = [_batch(_row("a"), _row("bad"))]
    partition.run()
    made = len(partition.workers)
    partition.stream += [_batch(_row("a"), _row("bad")) for _ in range(5)]
    partition.owner._handle([_delivery(n, body) for n, body in enumerate(partition.stream)])
    assert partition.sums == {("a", "i"): 6}
    assert len(partition.workers) == made, "nothing was restored for it again"


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c", "d", "bad1", "bad2"]), st.integers(1, 9)),
            max_size=8,
        ),
        max_size=8,
    )
)
def test_whatever_is_poisonous_every_other_row_counts_once(
    stream: list[list[tuple[str, int]]],
) -> None:
    partition = Partition()
    partition.stream = [_batch(*[_row(host, value) for host, value in rows]) for rows in stream]
    partition.run(2 * len(stream))
    expected: dict[tuple[str, str], float] = {}
    for rows in stream:
        for host, value in rows:
            if not host.startswith("bad"):
                expected[host, "i"] = expected.get((host, "i"), 0) + value
    assert (partition.sums if stream else {}) == expected


@pytest.mark.parametrize("body", [b"", b"no batch", _batch(_row("a"))[:-20]])
def test_what_is_no_batch_is_set_aside_at_once(body: bytes) -> None:
    partition = Partition()
    partition.stream = [_batch(_row("a")), body, _batch(_row("a"))]
    partition.run(0)
    assert partition.sums == {("a", "i"): 2}
    assert [each.body for each in partition.bus.dead] == [body]


def test_a_batch_without_a_good_series_is_set_aside_as_a_whole() -> None:
    partition = Partition()
    partition.stream = [_batch(_row("bad1"), _row("bad2")), _batch(_row("a"))]
    partition.run()
    assert partition.sums == {("a", "i"): 1}
    assert [each.body for each in partition.bus.dead] == [partition.stream[0]]


def test_where_no_snapshot_can_be_stored_the_batch_is_set_aside_as_a_whole() -> None:
    partition = Partition()
    partition.disk.writable = False
    partition.stream = [_batch(_row("a")), _batch(_row("a"), _row("bad")), _batch(_row("a"))]
    partition.run()
    assert partition.sums == {("a", "i"): 2}
    assert partition.bus.dead[-1].body == partition.stream[1]


def test_an_outage_is_nobodys_fault() -> None:
    partition = Partition()
    partition.stream = [_batch(_row("away"))]
    partition.owner._restore(lambda: None, 0)
    assert not partition.owner.consumer.handling.once([_delivery(0, partition.stream[0])])
    assert partition.owner.consumer.handling.outage == "away"
    assert not partition.owner._batches.failed_before(0)


def test_an_event_that_breaks_its_contract_is_set_aside_and_its_neighbours_are_published() -> None:
    partition = Partition()
    partition.owner._restore(lambda: None, 0)
    event = AnomalyCleared.model_construct(event_id="\ud800")
    outgoing = partition.owner._batches._prepared(5, event)
    assert outgoing.exchange == "to.detector"
    assert b"ud800" in outgoing.body


def _in_a_process(state_dir: Path, stream: list[bytes]) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    partition = Partition(state_dir)
    partition.stream = stream
    partition.run()
    ok = partition.sums == {("a", "i"): 2} and len(partition.bus.dead) == 1
    os._exit(0 if ok else 1)


def test_a_batch_over_which_the_process_dies_is_set_aside_in_the_end(tmp_path: Path) -> None:
    stream = [_batch(_row("a")), _batch(_row("kills")), _batch(_row("a"))]
    statuses = [_in_a_process(tmp_path, stream) for _ in range(MAX_CRASHES + 1)]
    assert statuses == [9] * MAX_CRASHES + [0]
