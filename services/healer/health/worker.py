"""Reads one partition of the samples and reports the health of its machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

import numpy as np

from services.healer.health.machine import HOUR_MS, HOURS, Machine, count, in_order
from services.healer.health.score import WEIGHTS, Alarms, Key, health
from shared.columns import Array, part_of
from shared.contracts import HealthReported, Message
from shared.derivation import Deriver
from shared.health_map import Hour
from shared.samples import SampleBatch, labels_from
from shared.service.snapshot_worker import SnapshotWorker, batch_read
from shared.snapshots import SnapshotStore
from shared.stream_clock import StreamClock

_EVERY_MS = 60_000
_PUBLISHED_EVERY_MS = 15 * 60_000
_STALE_MS = 10 * 60_000
_RAW_KEPT_MS = 7 * HOURS * HOUR_MS
_SMOOTH = 0.3
_STATE = "state"
_MAX_SERIES = 1_000_000


class Memory(Protocol):
    """The state that all replicas share, and that outlives a replica's own snapshots."""

    def alarms(self) -> Mapping[str, Alarms]:
        """Open alarms by machine, as of now."""

    def keep(self, reports: list[HealthReported]) -> None:
        """Store each machine's last report; repeating it changes nothing."""

    def past(self, hosts: Sequence[str]) -> Mapping[str, Sequence[Hour]]:
        """The hours that were remembered of these machines."""

    def remember(self, hours: Mapping[str, Sequence[Hour]]) -> None:
        """Store the last day's hours of these machines when one has ended."""


class HealthWorker(SnapshotWorker):
    """See ``shared.service.PartitionWorker``. A report is made once a minute of the samples' own
    time, or once a quarter of an hour of it where samples come late, and published when the score
    moved by a point, the verdict changed, or a quarter of an hour has passed.
    """

    def __init__(self, partition: int, store: SnapshotStore, memory: Memory) -> None:
        super().__init__(partition, store)
        self._memory = memory
        self._deriver = Deriver(_MAX_SERIES)
        self._machines: dict[str, Machine] = {}
        self._next_ms = 0
        self._clock = StreamClock(_EVERY_MS)
        self._swept_hour = -1

    def restore(self) -> int | None:
        """Load the newest snapshot, and what is remembered of the machines.

        Another replica may have had the partition since.
        """
        offset = super().restore()
        self._recall(list(self._machines))
        return offset

    def _load(self, arrays: dict[str, Array] | None) -> None:
        if arrays is not None:
            self._deriver = Deriver.restored(part_of(arrays, "deriver/"), _MAX_SERIES)
            self._take(json.loads(arrays[_STATE].tobytes()))

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """Take the samples in, and return reports when a minute is over."""
        samples = batch_read(offset, batch)
        newest = max(samples.clock_ms or 0, int(samples.time_ms.max()) if len(samples) else 0)
        if self._clock.tell(newest, samples.clock_ms) < 0:
            self._set_back()
        self._sweep()
        points = self._deriver.apply(samples)
        known = len(self._machines)
        self._take_points(points)
        self._recall(list(islice(self._machines, known, None)))
        due = self._due(newest, points)
        reports = list(self._reports(due)) if due else []
        if reports:
            self._memory.keep(reports)
        return reports

    def _set_back(self) -> None:
        """Discard what was noted for the future, because a gateway's clock had been ahead."""
        now_ms = self._next_ms = self._clock.now_ms
        for machine in self._machines.values():
            machine.published_ms = min(machine.published_ms, now_ms)
            machine.reported_ms = min(machine.reported_ms, now_ms)
            machine.heard_ms = min(machine.heard_ms, now_ms)
            machine.hours = [hour for hour in machine.hours if hour.hour <= now_ms // HOUR_MS]
            machine.hour = min(machine.hour, now_ms // HOUR_MS)

    def _sweep(self) -> None:
        """Forget, once an hour, series and machines that have sent nothing for a day.

        Labels come and go: mounts of containers and their interfaces would add up for ever.
        """
        now_ms = self._clock.now_ms
        if now_ms // HOUR_MS == self._swept_hour:
            return
        self._swept_hour = now_ms // HOUR_MS
        self._deriver.forget(now_ms - _RAW_KEPT_MS)
        for host, machine in list(self._machines.items()):
            if now_ms - machine.heard_ms > HOURS * HOUR_MS:
                del self._machines[host]
                continue
            oldest = machine.newest_ms - HOURS * HOUR_MS
            machine.values = {k: each for k, each in machine.values.items() if each[0] >= oldest}

    def _due(self, newest: int, points: SampleBatch) -> dict[str, int]:
        """The machines whose report is due, and the time it is about.

        A machine whose samples come late, after an outage or from a file, has reports of the
        samples' own time: the partition's clock, which heartbeats move, has gone on without it.
        """
        if newest >= self._next_ms:
            self._next_ms = newest + _EVERY_MS
            due = dict.fromkeys(self._machines, newest)
        else:
            due = {}
        live_ms = self._next_ms - _EVERY_MS - _STALE_MS
        for host in {points.hosts[code] for code in np.unique(points.host_code)}:
            machine = self._machines.get(host)
            if machine is not None and machine.newest_ms < live_ms:
                due.pop(host, None)
                if machine.newest_ms - machine.reported_ms >= _PUBLISHED_EVERY_MS:
                    due[host] = machine.newest_ms
        return due

    def _recall(self, hosts: Sequence[str]) -> None:
        """Join what is remembered of machines with what is known of them."""
        if not hosts:
            return
        for host, past in self._memory.past(hosts).items():
            machine = self._machines[host]
            machine.hours = in_order([*past, *machine.hours])[-HOURS:]

    def _arrays(self) -> dict[str, Array]:
        text = json.dumps(self._state()).encode()
        arrays: dict[str, Array] = {_STATE: np.frombuffer(text, dtype=np.uint8)}
        return arrays | {f"deriver/{name}": a for name, a in self._deriver.snapshot().items()}

    def close(self) -> None:
        """Do nothing: the worker has no metrics to take back."""

    def _take_points(self, points: SampleBatch) -> None:
        for number, item in enumerate(points.items):
            if item not in WEIGHTS:
                continue
            for at in np.flatnonzero(points.item_code == number):
                labels = _labels(points.labels[points.label_code[at]])
                host, time_ms = points.hosts[points.host_code[at]], int(points.time_ms[at])
                self._heard(host, (item, labels), time_ms, float(points.value[at]))

    def _heard(self, host: str, key: Key, time_ms: int, value: float) -> None:
        machine = self._machines.setdefault(host, Machine())
        machine.heard_ms = self._clock.now_ms
        old = machine.values.get(key)
        if np.isnan(value) or (old is not None and time_ms <= old[0]):
            return
        smooth = value if old is None else old[1] + _SMOOTH * (value - old[1])
        machine.values[key] = (time_ms, smooth)

    def _reports(self, due: Mapping[str, int]) -> Iterator[HealthReported]:
        alarms = self._memory.alarms()
        ended: dict[str, Sequence[Hour]] = {}
        for host, now_ms in due.items():
            machine = self._machines[host]
            values = {k: v for k, (t, v) in machine.values.items() if now_ms - t <= _STALE_MS}
            if not values:
                continue
            fields = health(values, alarms.get(host, Alarms()), machine.hours)
            report = HealthReported.model_validate(
                {"name": host, "at": datetime.fromtimestamp(now_ms / 1000, UTC), **fields}
            )
            machine.reported_ms = now_ms
            if count(machine, report.score, values, now_ms):
                ended[host] = machine.hours
            score, verdict = machine.published
            moved = abs(report.score - score) >= 1 or report.verdict != verdict
            if moved or now_ms - machine.published_ms >= _PUBLISHED_EVERY_MS:
                machine.published, machine.published_ms = (report.score, report.verdict), now_ms
                yield report
        if ended:
            self._memory.remember(ended)

    def _state(self) -> dict[str, object]:
        machines = {
            host: {
                "values": [[*key, *value] for key, value in machine.values.items()],
                "hours": [asdict(hour) for hour in machine.hours],
                "rest": [machine.sums, machine.hour, machine.published_ms, machine.published],
                "told_ms": machine.reported_ms,
                "heard_ms": machine.heard_ms,
            }
            for host, machine in self._machines.items()
        }
        clock = self._clock.snapshot()
        return {"next_ms": self._next_ms, "clock": clock, "machines": machines}

    def _take(self, state: Any) -> None:
        machines = {}
        for host, kept in state["machines"].items():
            sums, hour, published_ms, published = kept["rest"]
            machines[host] = Machine(
                {(item, labels): (t, v) for item, labels, t, v in kept["values"]},
                [Hour(**fields) for fields in kept["hours"]],
                sums,
                hour,
                published_ms,
                tuple(published),
                kept.get("told_ms", published_ms),
                kept.get("heard_ms", state["next_ms"]),
            )
        self._machines, self._next_ms = machines, state["next_ms"]
        # Snapshots from before the clock could be set back know only what is due when.
        due_ms = max(self._next_ms - _EVERY_MS, -1)
        self._clock.restore(state.get("clock", (due_ms, 0, -1)))


@lru_cache(maxsize=65_536)
def _labels(text: str) -> str:
    """Labels as people read them: ``mount=/``."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels_from(text).items()))
