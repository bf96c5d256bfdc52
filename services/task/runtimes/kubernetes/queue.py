"""The places of jobs in Kueue's queues, and the time that those before them have waited."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from shared.cluster import Object

_LOOK_S = 1.0
_REMEMBERED = 50
"""Waits that are kept of each queue: the newest."""
_TELLING = 3
"""The number of past waits from which the next one is estimated."""
_TAIL = 0.1
_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86_400.0
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}

Queue = tuple[str, str]
"""Namespace and name of a LocalQueue, all of whose workloads are in its namespace."""


class Queues:
    """The places of waiting workloads, by what Kueue goes by: priority, then age.

    Args:
        workloads: reads all that are there now.
        clock: monotonic seconds.
    """

    def __init__(
        self, workloads: Callable[[], Iterable[Object]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workloads, self._clock = workloads, clock
        self._waits: dict[Queue, deque[float]] = {}
        """The waits of workloads that are gone, in seconds, by queue."""
        self._texts: dict[str, str] = {}
        self._looked_at = -_LOOK_S

    def gone(self, workload: Object) -> None:
        """Remember how long one waited that has been deleted, as it is with its job."""
        waited = _waited(workload)
        if waited is not None:
            self._waits.setdefault(_queue(workload), deque(maxlen=_REMEMBERED)).append(waited)

    def place(self, workload: Object) -> str:
        """E.g. ``2nd of 5``, and how long others waited; '' for one that does not wait."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_S:
            # Thousands may wait, and each of them asks.
            self._looked_at, self._texts = now, dict(self._look())
        return self._texts.get(_key(workload), "")

    def _look(self) -> Iterator[tuple[str, str]]:
        for queue, found in groupby(sorted(self._workloads(), key=_queue), key=_queue):
            mine = list(found)
            waits = [*self._waits.get(queue, ()), *(w for w in map(_waited, mine) if w is not None)]
            line = sorted(filter(_is_waiting, mine), key=_turn)
            for place, each in enumerate(line, 1):
                yield _key(each), f"{_ordinal(place)} of {len(line)}{_usual(waits)}"


def _key(workload: Object) -> str:
    return f"{workload['metadata']['namespace']}/{workload['metadata']['name']}"


def _queue(workload: Object) -> Queue:
    spec = workload.get("spec") or {}
    return workload["metadata"]["namespace"], str(spec.get("queueName") or "")


def _turn(workload: Object) -> tuple[int, str, str]:
    meta, spec = workload["metadata"], workload.get("spec") or {}
    return -int(spec.get("priority") or 0), meta.get("creationTimestamp") or "", meta["name"]


def _condition(workload: Object, kind: str) -> Object:
    conditions = (workload.get("status") or {}).get("conditions") or []
    found = [each for each in conditions if each["type"] == kind and each["status"] == "True"]
    return dict(found[0]) if found else {}


def _is_waiting(workload: Object) -> bool:
    active = (workload.get("spec") or {}).get("active", True)
    return active and not (
        _condition(workload, "QuotaReserved") or _condition(workload, "Finished")
    )


def _waited(workload: Object) -> float | None:
    """Seconds until one got its quota; None if it has not, or gave it back."""
    admitted = _condition(workload, "QuotaReserved").get("lastTransitionTime")
    created = workload["metadata"].get("creationTimestamp")
    try:
        waited = datetime.fromisoformat(str(admitted)) - datetime.fromisoformat(str(created))
    except ValueError:
        return None
    return max(0.0, waited.total_seconds())


def _usual(waits: Sequence[float]) -> str:
    """The range in which the waits of most others lay."""
    newest = sorted(waits[-_REMEMBERED:])
    if len(newest) < _TELLING:
        return ""
    cut = int(len(newest) * _TAIL)
    least, most = _length(newest[cut]), _length(newest[-1 - cut])
    between = f"about {least}" if least == most else f"{least} to {most}"
    return f"; the last {len(newest)} that it admitted waited {between}"


def _length(seconds: float) -> str:
    for unit_s, unit in ((_DAY_S, "days"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _ordinal(number: int) -> str:
    last = number % 10 if number % 100 not in {11, 12, 13} else 0
    return f"{number}{_ENDINGS.get(last, 'th')}"
