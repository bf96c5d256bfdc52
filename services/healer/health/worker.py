"""Reads one partition of all samples and says how the machines in it are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Protocol

import numpy as np
import structlog

from services.healer.health.score import WEIGHTS, Alarms, Hour, Key, health
from shared.columns import Array, part_of
from shared.contracts import HealthReported, Message
from shared.derivation import Deriver
from shared.messaging.errors import Reject
from shared.samples import InvalidBatch, SampleBatch, decode, labels_from
from shared.snapshots import UNFIT, SnapshotStore, pack, unpack
from shared.storage import StorageError

log = structlog.get_logger(__name__)

_EVERY_MS = 60_000
_SAID_MS = 15 * 60_000
_STALE_MS = 10 * 60_000
_SMOOTH = 0.3
_HOURS = 24
_CPU, _MEMORY = ("cpu.idle", ""), ("mem.memused.percent", "")
_STATE = "state"
_MAX_SERIES = 1_000_000


class Memory(Protocol):
    """The state that all replicas share, and that outlives a replica's own snapshots."""

    def alarms(self) -> Mapping[str, Alarms]:
        """Open alarms by machine, as of now."""

    def keep(self, reports: list[HealthReported]) -> None:
        """Each machine's last report; the same again changes nothing."""

    def past(self, hosts: Sequence[str]) -> Mapping[str, Sequence[Hour]]:
        """The hours that were remembered of these machines."""

    def remember(self, hours: Mapping[str, Sequence[Hour]]) -> None:
        """The last day's hours of these machines, of which one has ended."""


@dataclass
class Machine:
    """The values and scores of one machine."""

    values: dict[Key, tuple[int, float]] = field(default_factory=dict)
    """Smoothed value by series, with the time it was last heard of."""
    hours: list[Hour] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    """Sums over the present hour: reports, scores, CPU used, memory used."""
    hour: int = 0
    said_ms: int = 0
    said: tuple[float, str] = (-1.0, "")
    told_ms: int = 0
    """The time of its last report, whether that was published or not."""

    @property
    def newest_ms(self) -> int:
        """The time of its newest value."""
        return max((time_ms for time_ms, _ in self.values.values()), default=0)


class HealthWorker:
    """See ``shared.service.PartitionWorker``. A report is made once a minute of the samples' own
    time, or once a quarter of an hour of it where samples come late, and published when the score
    moved by a point, the verdict changed, or a quarter of an hour has passed.
    """

    def __init__(self, partition: int, store: SnapshotStore, memory: Memory) -> None:
        self._partition = partition
        self._store = store
        self._memory = memory
        self._deriver = Deriver(_MAX_SERIES)
        self._machines: dict[str, Machine] = {}
        self._next_ms = 0

    def restore(self) -> int | None:
        """The newest snapshot that is whole."""
        for name, data in self._store.newest_first():
            try:
                offset, arrays = unpack(data)
                self._deriver = Deriver.restored(part_of(arrays, "deriver/"), _MAX_SERIES)
                self._take(json.loads(arrays[_STATE].tobytes()))
            except UNFIT as error:
                log.warning("snapshot_refused", snapshot=name, reason=str(error))
                continue
            # Another replica may have had the partition since.
            self._recall(list(self._machines))
            return offset
        return None

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        """Take the samples in; reports, when a minute is over."""
        try:
            samples = decode(batch, trusted=True)
        except InvalidBatch as error:
            raise Reject(f"batch {offset} cannot be read: {error}") from error
        newest = max(samples.clock_ms or 0, int(samples.time_ms.max()) if len(samples) else 0)
        points = self._deriver.apply(samples)
        known = len(self._machines)
        self._take_points(points)
        self._recall(list(islice(self._machines, known, None)))
        due = self._due(newest, points)
        reports = list(self._reports(due)) if due else []
        if reports:
            self._memory.keep(reports)
        return reports

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
                if machine.newest_ms - machine.told_ms >= _SAID_MS:
                    due[host] = machine.newest_ms
        return due

    def _recall(self, hosts: Sequence[str]) -> None:
        """Join what is remembered of machines with what is known of them."""
        if not hosts:
            return
        for host, past in self._memory.past(hosts).items():
            machine = self._machines[host]
            machine.hours = _in_order([*past, *machine.hours])[-_HOURS:]

    def snapshot(self, offset: int) -> None:
        """Store state and offset as one."""
        text = json.dumps(self._state()).encode()
        arrays: dict[str, Array] = {_STATE: np.frombuffer(text, dtype=np.uint8)}
        arrays |= {f"deriver/{name}": a for name, a in self._deriver.snapshot().items()}
        try:
            self._store.write(offset, pack(offset, arrays))
        except (StorageError, OSError) as error:
            log.warning("snapshot_failed", partition=self._partition, reason=str(error))

    def close(self) -> None:
        """Nothing of it is exported."""

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
            machine.told_ms = now_ms
            if _count(machine, report.score, values, now_ms):
                ended[host] = machine.hours
            score, verdict = machine.said
            moved = abs(report.score - score) >= 1 or report.verdict != verdict
            if moved or now_ms - machine.said_ms >= _SAID_MS:
                machine.said, machine.said_ms = (report.score, report.verdict), now_ms
                yield report
        if ended:
            self._memory.remember(ended)

    def _state(self) -> dict[str, object]:
        machines = {
            host: {
                "values": [[*key, *value] for key, value in machine.values.items()],
                "hours": [asdict(hour) for hour in machine.hours],
                "rest": [machine.sums, machine.hour, machine.said_ms, machine.said],
                "told_ms": machine.told_ms,
            }
            for host, machine in self._machines.items()
        }
        return {"next_ms": self._next_ms, "machines": machines}

    def _take(self, state: dict[str, object]) -> None:
        machines = {}
        for host, kept in dict(state["machines"]).items():  # type: ignore[call-overload]
            sums, hour, said_ms, said = kept["rest"]
            machines[host] = Machine(
                {(item, labels): (t, v) for item, labels, t, v in kept["values"]},
                [Hour(**fields) for fields in kept["hours"]],
                sums,
                hour,
                said_ms,
                tuple(said),
                kept.get("told_ms", said_ms),
            )
        self._machines, self._next_ms = machines, int(str(state["next_ms"]))


def _in_order(hours: Iterable[Hour]) -> list[Hour]:
    """Each hour once, as it was said last; the oldest first."""
    joined = {hour.hour: hour for hour in hours}
    return [joined[number] for number in sorted(joined)]


def _count(machine: Machine, score: float, values: Mapping[Key, float], now_ms: int) -> bool:
    """Take a report into the hour that runs; whether one has ended."""
    hour = now_ms // 3_600_000
    count, scores, cpu, memory = machine.sums
    over = hour != machine.hour and count > 0
    if over:
        # A machine that never reports its CPU or memory has an unknown use, which is not zero.
        tells_cpu, tells_memory = _CPU in machine.values, _MEMORY in machine.values
        ended = Hour(
            machine.hour,
            scores / count,
            cpu / count if tells_cpu else None,
            memory / count if tells_memory else None,
        )
        known = _in_order([*machine.hours, ended])
        machine.hours = [past for past in known if past.hour >= hour - _HOURS]
        count = scores = cpu = memory = 0.0
    machine.hour = hour
    used = 100 - values.get(_CPU, 100.0)
    held = values.get(_MEMORY, 0.0)
    machine.sums = [count + 1, scores + score, cpu + used, memory + held]
    return over


@lru_cache(maxsize=65_536)
def _labels(text: str) -> str:
    """Labels as people read them: ``mount=/``."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels_from(text).items()))
