"""The known state of one machine: its values, and the hours of its last day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.healer.health.score import Key
from shared.health_map import Hour

HOURS, HOUR_MS = 24, 3_600_000
CPU, MEMORY = ("cpu.idle", ""), ("mem.memused.percent", "")


@dataclass
class Machine:
    """The values and scores of one machine."""

    values: dict[Key, tuple[int, float]] = field(default_factory=dict)
    """Smoothed value by series, with the time of its last sample."""
    hours: list[Hour] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    """Sums over the present hour: reports, scores, CPU used, memory used."""
    hour: int = 0
    published_ms: int = 0
    published: tuple[float, str] = (-1.0, "")
    reported_ms: int = 0
    """The time of its last report, whether that was published or not."""
    heard_ms: int = 0
    """The partition's time when its last sample came."""

    @property
    def newest_ms(self) -> int:
        """The time of its newest value."""
        return max((time_ms for time_ms, _ in self.values.values()), default=0)


def in_order(hours: Iterable[Hour]) -> list[Hour]:
    """Each hour once, as it was last reported; the oldest first."""
    joined = {hour.hour: hour for hour in hours}
    return [joined[number] for number in sorted(joined)]


def count(machine: Machine, score: float, values: Mapping[Key, float], now_ms: int) -> bool:
    """Count a report in the present hour; return whether an hour has ended."""
    hour = now_ms // HOUR_MS
    number, scores, cpu, memory = machine.sums
    over = hour != machine.hour and number > 0
    if over:
        # A machine that never reports its CPU or memory has an unknown use, which is not zero.
        tells_cpu, tells_memory = CPU in machine.values, MEMORY in machine.values
        ended = Hour(
            machine.hour,
            scores / number,
            cpu / number if tells_cpu else None,
            memory / number if tells_memory else None,
        )
        known = in_order([*machine.hours, ended])
        machine.hours = [past for past in known if past.hour >= hour - HOURS]
        number = scores = cpu = memory = 0.0
    machine.hour = hour
    used = 100 - values.get(CPU, 100.0)
    held = values.get(MEMORY, 0.0)
    machine.sums = [number + 1, scores + score, cpu + used, memory + held]
    return over
