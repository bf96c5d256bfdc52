"""The health score of a machine: 100 minus the cost of each of its problems.

Each item costs nothing up to a value that is fine, all its points at a value that is bad, and in
between in proportion. Alarms cost by severity. docs/algorithms/health.md explains the design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.contracts.health import HEALTHY, WATCH, HealthReported, HealthTerm
from shared.health_map import Hour
from shared.items import ITEMS

_IDLE_CPU, _IDLE_MEMORY, _BUSY_CPU, _BUSY_MEMORY = 10.0, 40.0, 85.0, 92.0
_HEADROOM = 1.25
_MIN_HOURS = 6

Key = tuple[str, str]
"""Item and labels, as canonical text."""


@dataclass(frozen=True)
class Weight:
    """The cost of an item: nothing at ``fine``, ``points`` at ``bad``."""

    name: str
    fine: float
    bad: float
    points: float

    def lost(self, value: float) -> float:
        share = (value - self.fine) / (self.bad - self.fine)
        return self.points * min(1.0, max(0.0, share))


WEIGHTS: Mapping[str, Weight] = {
    "host.alive": Weight("reporting", 1, 0, 100),
    "cpu.idle": Weight("cpu", 30, 0, 20),
    "load.5min": Weight("load", 1.5, 4, 10),
    "mem.memused.percent": Weight("memory", 80, 100, 20),
    "mem.swapused.percent": Weight("swap", 30, 100, 10),
    "df.bytes.used.percent": Weight("disk used", 75, 100, 25),
    "df.inodes.used.percent": Weight("inodes used", 75, 100, 10),
    "disk.io.util": Weight("disk busy", 80, 100, 10),
    "disk.io.await": Weight("disk wait", 50, 1000, 5),
    "net.if.in.usage": Weight("network in", 70, 100, 5),
    "net.if.out.usage": Weight("network out", 70, 100, 5),
    "sys.ntpd.offset": Weight("clock", 50, 1000, 5),
}


@dataclass(frozen=True)
class Alarms:
    """Open alarms of a machine."""

    critical: int = 0
    warning: int = 0
    predicted: int = 0


_ALARMS = (
    ("critical alarms", "critical alarm", "critical", 15.0, 45.0),
    ("warnings", "warning", "warning", 5.0, 20.0),
    ("predicted alarms", "predicted alarm", "predicted", 8.0, 24.0),
)


def terms(values: Mapping[Key, float], alarms: Alarms) -> list[HealthTerm]:
    """Every term, most costly first; of several series of an item the worst one counts."""
    worst: dict[str, tuple[float, float, str]] = {}
    for (item, labels), value in values.items():
        weight = WEIGHTS.get(item)
        if weight is not None:
            lost = weight.lost(abs(value) if item == "sys.ntpd.offset" else value)
            if item not in worst or lost > worst[item][0]:
                worst[item] = (lost, value, f"{item} {labels}".strip())
    found = [
        HealthTerm(
            name=WEIGHTS[item].name,
            value=value,
            lost=round(lost, 2),
            series=series,
            sentence=_sentence(item, value, series),
        )
        for item, (lost, value, series) in worst.items()
    ]
    for name, one, field, each, most in _ALARMS:
        count = getattr(alarms, field)
        lost = min(most, each * count)
        sentence = f"{count} {one if count == 1 else name}"
        found.append(HealthTerm(name=name, value=count, lost=lost, sentence=sentence))
    return sorted(found, key=lambda term: -term.lost)


def health(values: Mapping[Key, float], alarms: Alarms, hours: Sequence[Hour]) -> dict[str, object]:
    """The fields of ``HealthReported`` for one machine."""
    found = terms(values, alarms)
    score = max(0.0, 100 - sum(term.lost for term in found))
    first = found[0] if found and found[0].lost > 0 else None
    return {
        "score": round(score, 1),
        "verdict": verdict(score) if values else "unknown",
        "terms": tuple(found),
        "trend": trend(score, hours),
        "first": f"{first.sentence}: {first.lost:.0f} points" if first else "",
        **usage(hours),
    }


def verdict(score: float) -> str:
    """healthy, watch or sick."""
    return "healthy" if score >= HEALTHY else "watch" if score >= WATCH else "sick"


def trend(score: float, hours: Sequence[Hour]) -> float | None:
    """Points a day: the least-squares slope over the last day's hours; None for too few."""
    if len(hours) < _MIN_HOURS:
        return None
    points = [(h.hour / 24, h.score) for h in hours]
    points.append(((hours[-1].hour + 1) / 24, score))
    middle = sum(x for x, _ in points) / len(points)
    mean = sum(y for _, y in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return round(sum((x - middle) * (y - mean) for x, y in points) / spread, 1)


def usage(hours: Sequence[Hour]) -> dict[str, object]:
    """idle, normal or overloaded by the last day, with advice and what could be reclaimed."""
    cpus = [h.cpu for h in hours if h.cpu is not None]
    memories = [h.memory for h in hours if h.memory is not None]
    if min(len(cpus), len(memories)) < _MIN_HOURS:
        return {"usage": "unknown", "advice": ""}
    cpu, memory = sum(cpus) / len(cpus), sum(memories) / len(memories)
    free_cpu = max(0.0, 100 - max(cpus) * _HEADROOM)
    free_memory = max(0.0, 100 - max(memories) * _HEADROOM)
    if cpu > _BUSY_CPU or memory > _BUSY_MEMORY:
        advice = f"overloaded: {cpu:.0f} % CPU and {memory:.0f} % memory over a day; move work away"
        return {"usage": "overloaded", "advice": advice}
    if cpu < _IDLE_CPU and memory < _IDLE_MEMORY:
        advice = (
            f"idle: {cpu:.0f} % CPU and {memory:.0f} % memory over a day; {free_cpu:.0f} % of its "
            f"CPU and {free_memory:.0f} % of its memory could be used otherwise"
        )
        return {
            "usage": "idle",
            "advice": advice,
            "reclaimable_cpu_percent": round(free_cpu, 1),
            "reclaimable_memory_percent": round(free_memory, 1),
        }
    return {"usage": "normal", "advice": ""}


def of_group(name: str, machines: Sequence[HealthReported]) -> dict[str, object]:
    """A group's fields: the mean of its machines, what the worst of them cost it, what is idle."""
    score = sum(m.score for m in machines) / len(machines)
    worst = sorted(machines, key=lambda m: m.score)[:20]
    found = [
        HealthTerm(
            name=m.name,
            lost=round((100 - m.score) / len(machines), 2),
            sentence=f"{m.name} is {m.verdict} ({m.score:.0f})" + (f": {m.first}" * bool(m.first)),
        )
        for m in worst
    ]
    trends = [m.trend for m in machines if m.trend is not None]
    idle = [m for m in machines if m.usage == "idle"]
    busy = sum(m.usage == "overloaded" for m in machines)
    kind = (
        "overloaded"
        if busy * 2 > len(machines)
        else "idle"
        if len(idle) * 2 > len(machines)
        else "normal"
    )
    return {
        "scope": "group",
        "name": name,
        "score": round(score, 1),
        "verdict": verdict(score),
        "terms": tuple(found),
        "trend": round(sum(trends) / len(trends), 1) if trends else None,
        "first": found[0].sentence if worst[0].score < HEALTHY else "",
        "usage": kind,
        "advice": f"{len(idle)} idle and {busy} overloaded of {len(machines)}",
        "reclaimable_cpu_percent": _mean([m.reclaimable_cpu_percent for m in machines]),
        "reclaimable_memory_percent": _mean([m.reclaimable_memory_percent for m in machines]),
        "machines": len(machines),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 1)


def _sentence(item: str, value: float, series: str) -> str:
    unit = ITEMS[item].unit
    return f"{series} is {value:.4g} {'%' if unit == 'percent' else unit}"
