"""A partition's owner: what is published, what counts as done, how often state is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from shared.contracts import Message
from shared.messaging import BrokerUnavailable, Delivery
from shared.messaging.envelope import PUBLISHED_MS
from shared.service.partitions import PartitionOwner, Stage
from tests.recording_bus import RecordingBus


class _Bus(RecordingBus):
    """Publishes messages as they are, which here are numbers."""

    def prepare(self, message: Any, cause: Any = None) -> Any:
        del cause
        return message


class _Worker:
    """Says of every batch that it was there; takes its time over snapshots."""

    def __init__(self, clock: list[float], snapshot_s: float) -> None:
        self.clock, self.snapshot_s = clock, snapshot_s
        self.snapshots: list[int] = []
        self.closed = False
        self.meanwhile: Callable[[], None] = lambda: None

    def restore(self) -> int | None:
        return None

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        del batch
        self.meanwhile()
        said: Any = offset
        return [said]

    def snapshot(self, offset: int) -> None:
        self.snapshots.append(offset)
        self.clock[0] += self.snapshot_s

    def close(self) -> None:
        self.closed = True


def _deliveries(*offsets: int) -> list[Delivery]:
    return [
        Delivery("metrics.0", n, "", "0", {"x-stream-offset": n}, "m", "", b"", False)
        for n in offsets
    ]


def _owner(snapshot_s: float = 0.0) -> tuple[PartitionOwner, _Bus, _Worker, list[float]]:
    clock = [0.0]
    bus, worker = _Bus(), _Worker(clock, snapshot_s)
    owner = PartitionOwner(bus, 0, lambda: worker, 10.0, lambda: clock[0])
    owner._restore(lambda: None, 0)
    return owner, bus, worker, clock


def test_what_follows_from_batches_that_come_together_is_published_together() -> None:
    owner, bus, _, _ = _owner()
    owner._handle(_deliveries(3, 4, 5))
    owner._handle(_deliveries(5, 6))
    assert bus.calls == [[3, 4, 5], [6]]
    assert owner.offset == 6


def test_a_state_whose_messages_are_not_confirmed_is_never_stored() -> None:
    owner, bus, worker, _ = _owner()
    owner._handle(_deliveries(1))
    bus.down = True
    with pytest.raises(BrokerUnavailable):
        owner._handle(_deliveries(2, 3))
    owner.snapshot()
    assert (owner.offset, worker.snapshots) == (1, [])


@pytest.mark.parametrize(("snapshot_s", "pause_s"), [(0.1, 10.0), (3.0, 57.0)])
def test_a_large_state_is_stored_less_often(snapshot_s: float, pause_s: float) -> None:
    owner, _, worker, clock = _owner(snapshot_s)
    clock[0] = 10.0
    owner._handle(_deliveries(1))
    clock[0] = 10.0 + snapshot_s + pause_s - 0.01
    owner._handle(_deliveries(2))
    assert worker.snapshots == [1]
    clock[0] += 0.02
    owner._handle(_deliveries(3))
    assert worker.snapshots == [1, 3]


def _lag() -> float | None:
    return REGISTRY.get_sample_value("barograph_partition_lag_seconds", {"partition": "0"})


def test_lag_is_counted_against_the_end_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, _, clock = _owner()
    owner._stage = Stage.OWNING
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    (delivery,) = _deliveries(7)
    published = {**delivery.headers, PUBLISHED_MS: 940_000}
    owner._handle([dataclasses.replace(delivery, headers=published)])
    owner.head.offset = 7
    owner.show_lag()
    assert _lag() == 0, "nothing is after what was read, however old that is"
    owner.head.offset = 9
    owner.show_lag()
    assert _lag() == 60
    clock[0] += 500
    owner.show_lag()
    assert _lag() == 500, "what stands is late although nothing is read"
    assert owner.stalled_s == 500


def test_a_partition_of_another_replica_is_not_late_here() -> None:
    owner, _, _, clock = _owner()
    owner.head.offset = 9
    clock[0] += 500
    owner.show_lag()
    assert (_lag(), owner.stalled_s) == (0, 0)


def test_waiting_for_what_is_away_is_no_standing_still() -> None:
    owner, bus, _, clock = _owner()
    owner._stage = Stage.OWNING
    owner.head.offset = 9
    bus.down = True
    assert not owner.consumer.handling.once(_deliveries(1))
    clock[0] += 500
    assert owner.stalled_s == 0


def test_what_is_given_up_is_stored_first_and_then_another_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, bus, worker, _ = _owner()
    owner._handle(_deliveries(1, 2))
    monkeypatch.setattr(owner.consumer, "submit", lambda function: function())
    owner._stage = Stage.OWNING
    owner.give_up()
    assert (worker.snapshots, worker.closed) == ([2], True)
    owner._handle(_deliveries(3))
    assert bus.calls == [[1, 2]], "what arrives after that is not worked on"


def test_a_worker_that_cannot_be_closed_does_not_keep_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, _, worker, _ = _owner()
    unlocked: list[object] = []

    def fails() -> None:
        raise KeyError("the label of its metric")

    monkeypatch.setattr(worker, "close", fails)
    monkeypatch.setattr(owner.consumer, "submit", lambda function: function())
    monkeypatch.setattr(owner._link, "call", unlocked.append)
    owner._stage = Stage.OWNING
    owner.give_up()
    assert unlocked


def test_what_was_in_work_when_the_lock_was_lost_is_neither_told_nor_stored() -> None:
    owner, bus, worker, clock = _owner()
    worker.meanwhile = owner.lost
    clock[0] = 100.0
    owner._handle(_deliveries(1))
    owner.snapshot()
    assert (bus.calls, worker.snapshots) == ([], [])
