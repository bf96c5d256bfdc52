"""Tests of who is silent: machines that died, not those that left or whose sender stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from services.detector.engine import Engine
from services.detector.liveness import Liveness, Silence
from services.detector.settings import EngineSettings
from shared.contracts import AnomalyCleared, AnomalyDetected
from shared.samples import SampleBatch, Sender, decode, encode, from_rows

_T0 = 1_700_000_000_000
_SECOND = 1000
_STALE = float(np.array([0x7FF0000000000002], dtype=np.int64).view(np.float64)[0])


def _batch(
    second: float,
    hosts: Sequence[str] = (),
    ended: Sequence[str] = (),
    senders: Sequence[Sender] = (),
    brought: Sequence[tuple[str, str]] = (),
) -> SampleBatch:
    """Samples of ``hosts`` and staleness markers of ``ended`` at one time, with a heartbeat."""
    at = _T0 + round(second * _SECOND)
    rows = [(host, "queue", "", at, 1.0) for host in hosts]
    rows += [(host, item, "", at, 0.0) for host in ended for item in ("up", "queue")]
    batch = from_rows(rows, clock_ms=at)
    batch.value[len(hosts) :].view(np.int64)[:] = 0x7FF0000000000002
    told = replace(batch, senders=tuple(senders), brought=tuple(brought))
    # A batch reaches a partition encoded: a marker must still be one after that.
    return decode(encode(told), trusted=True)


class _Partition:
    def __init__(self) -> None:
        self.liveness = Liveness(300_000, 60_000)
        self.seen: list[Silence] = []

    def take(self, batch: SampleBatch) -> None:
        newest = max([batch.clock_ms or 0, *batch.time_ms.tolist()])
        self.seen += self.liveness.observe(batch, newest)

    def idle(self, start: float, end: float, *marks: Sender, hosts: Sequence[str] = ()) -> None:
        """Heartbeats every 15 s with the same marks, and samples of ``hosts``."""
        for second in np.arange(start, end, 15.0):
            self.take(_batch(float(second), hosts, senders=marks))

    @property
    def told(self) -> list[tuple[str, bool]]:
        return [(silence.host, silence.alive) for silence in self.seen]


def _sender(name: str, second: float, machines: int) -> Sender:
    return Sender(name, _T0 + round(second * _SECOND), machines)


def test_a_machine_whose_series_were_ended_has_left_and_is_not_dead() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["pod", "dead"]))
    partition.take(_batch(10, ["dead"], ended=["pod"]))
    partition.idle(15, 900)
    assert partition.told == [("dead", False)]


def test_one_series_that_ended_with_the_last_values_is_no_farewell() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["m"], ended=["m"]))
    partition.idle(15, 900)
    assert partition.told == [("m", False)]


def test_the_order_in_which_markers_and_values_arrive_does_not_matter() -> None:
    partition = _Partition()
    partition.take(_batch(10, ended=["m"]))
    partition.take(replace(_batch(0, ["m"]), clock_ms=_T0 + 11_000))
    partition.idle(15, 900)
    assert partition.told == []


def test_a_machine_that_left_and_came_back_is_watched_again() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["m"]))
    partition.take(_batch(10, ended=["m"]))
    partition.idle(15, 900)
    partition.take(_batch(900, ["m"]))
    partition.idle(915, 1300)
    assert partition.told == [("m", False)]


def test_a_sender_that_stops_is_one_notice_and_one_when_it_is_back() -> None:
    partition = _Partition()
    hosts = [f"rack-{n}" for n in range(12)]
    brought = [(host, "10.0.0.5 Prometheus/2.53.0") for host in hosts]
    partition.take(_batch(0, hosts, brought=brought))
    stopped = _sender("10.0.0.5 Prometheus/2.53.0", 2, machines=12)
    partition.idle(15, 900, stopped)
    (silence,) = partition.seen
    assert (silence.host, silence.alive, silence.machines) == (stopped.name, False, 12)
    assert silence.heard_ms == stopped.heard_ms
    # All but one come back with it; the one is told by itself, once it had its time.
    back = _sender(stopped.name, 900, machines=12)
    partition.take(_batch(901, hosts[1:], senders=[back]))
    for second in range(905, 1500, 15):
        mark = _sender(stopped.name, second, machines=12)
        partition.take(_batch(second, hosts[1:], senders=[mark]))
    assert partition.told[1:] == [(stopped.name, True), ("rack-0", False)]
    assert partition.seen[1].heard_ms == silence.heard_ms


def test_a_machine_that_dies_while_its_sender_goes_on_is_told_by_itself() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["a", "b"], brought=[("a", "agents"), ("b", "agents")]))
    for second in range(15, 900, 15):
        partition.take(_batch(second, ["a"], senders=[_sender("agents", second, 2)]))
    assert partition.told == [("b", False)]


def test_a_sender_of_a_single_machine_is_the_machine() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["a"], brought=[("a", "10.0.0.9 Alloy/1")]))
    partition.idle(15, 900, _sender("10.0.0.9 Alloy/1", 0, machines=1))
    assert partition.told == [("a", False)]


def test_a_machine_with_two_senders_is_seen_as_long_as_one_goes_on() -> None:
    partition = _Partition()
    brought = [(host, sender) for host in ("a", "b") for sender in ("one", "two")]
    partition.take(_batch(0, ["a", "b"], brought=brought))
    for second in range(15, 900, 15):
        marks = [_sender("one", 0, 2), _sender("two", second, 2)]
        partition.take(_batch(second, ["a"], senders=marks))
    assert partition.told == [("b", False)]


def test_samples_of_no_machine_fall_silent_unheard() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["unknown"]))
    partition.idle(15, 900)
    assert partition.told == []


def test_a_restored_partition_tells_what_it_would_have_told() -> None:
    partition = _Partition()
    brought = [(host, "10.0.0.5") for host in ("a", "b")]
    partition.take(_batch(0, ["a", "b", "pod"], brought=brought))
    partition.take(_batch(5, ended=["pod"], senders=[_sender("10.0.0.5", 1, 2)]))
    restored = _Partition()
    restored.liveness.restore(partition.liveness.snapshot())
    for each in (partition, restored):
        each.idle(15, 900)
    assert restored.seen == partition.seen
    assert restored.told == [("10.0.0.5", False)]


def test_a_snapshot_from_before_senders_were_known_is_taken() -> None:
    partition = _Partition()
    partition.take(_batch(0, ["a"]))
    new = ("untold", "value_ms", "ended_ms", "sender")
    old = {
        name: array
        for name, array in partition.liveness.snapshot().items()
        if name not in new and not name.startswith("sender.")
    }
    restored = _Partition()
    restored.liveness.restore(old)
    restored.idle(15, 900)
    assert restored.told == [("a", False)]


def test_partitions_tell_of_a_silent_sender_under_one_id() -> None:
    told: list[AnomalyDetected | AnomalyCleared] = []
    for hosts in (["a", "b"], ["c"]):
        engine = Engine(EngineSettings())
        name = "10.0.0.5 Prometheus/2.53.0"
        engine.process(_batch(0, hosts, brought=[(host, name) for host in hosts]))
        for second in (*range(15, 900, 15), 900):
            heard = 900 if second == 900 else 1
            mark = _sender(name, heard, machines=3)
            events = engine.process(_batch(second, senders=[mark]))
            told += [e for e in events if isinstance(e, AnomalyDetected | AnomalyCleared)]
    assert [type(event) for event in told] == 2 * [AnomalyDetected, AnomalyCleared]
    assert len({event.event_id for event in told}) == 1
    first = told[0]
    assert isinstance(first, AnomalyDetected)
    assert (first.series.host, first.series.item) == ("10.0.0.5", "sender.alive")
    assert first.series.labels == {"sender": "Prometheus/2.53.0"}
    assert first.sentence.startswith("Prometheus/2.53.0 at 10.0.0.5 has sent nothing for 314 s")
    assert "3 machines are not seen" in first.sentence
    assert all(one.series == other.series for one, other in pairwise(told))
