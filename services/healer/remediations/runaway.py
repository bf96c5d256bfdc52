"""Finds the processes that use the CPU or the memory, among those that may be acted on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
from pydantic import Field

from services.healer.masking import masked
from services.healer.remediations.running import Process, Programs, processes, read
from services.healer.remediations.stepwise import Stepwise
from shared.contracts import SeriesRef
from shared.items import family_of

_FAMILIES = frozenset({"cpu", "load", "memory"})


@dataclass(frozen=True)
class Usage:
    """A process with what it uses."""

    process: Process
    cpu: float
    """Percent of one core, over the sample."""
    memory: float
    """Percent of the machine's memory."""


class Runaway(Programs, Stepwise[list[Usage]]):
    """The selection shared by remediations of runaway processes."""

    min_cpu: float = Field(
        default=80,
        gt=0,
        description="A process that uses at least this many percent of one core is a runaway.",
    )
    min_memory: float = Field(
        default=30,
        gt=0,
        le=100,
        description="For alarms of memory, a process that uses at least this many percent of it is "
        "a runaway.",
    )
    min_age_s: float = Field(
        default=60, ge=0, description="A process that was started more recently is left alone."
    )
    max_processes: int = Field(
        default=1, ge=1, le=20, description="The most processes that one run acts on."
    )
    sample_s: float = Field(
        default=1, gt=0, le=10, description="The seconds over which the processes' use is measured."
    )

    def applies(self, series: SeriesRef) -> str:
        if not self.programs:
            return "no program is allow-listed on this machine"
        family = family_of(series.item)
        return "" if family in _FAMILIES else f"it does not help against {family} alarms"

    def look(self, series: SeriesRef) -> list[Usage]:
        total = psutil.virtual_memory().total
        allowed = [p for p in processes() if self.allows(p) and p.age_s >= self.min_age_s]
        began = time.monotonic()
        time.sleep(self.sample_s if allowed else 0)
        span = max(time.monotonic() - began, 1e-3)
        found = []
        for before in allowed:
            now = read(before.pid)
            if now is not None and now.start == before.start:
                cpu = 100 * (now.cpu_s - before.cpu_s) / span
                found.append(Usage(now, cpu, 100 * now.rss / total))
        return found

    def chosen(self, series: SeriesRef, seen: list[Usage]) -> list[tuple[Usage, str]]:
        """The worst of them, each with its use in words. Pure."""
        memory = family_of(series.item) == "memory"
        least = self.min_memory if memory else self.min_cpu
        rated = [(u.memory if memory else u.cpu, u) for u in seen]
        worst = sorted((r for r in rated if r[0] >= least), key=lambda r: -r[0])[
            : self.max_processes
        ]
        unit = "% of the memory" if memory else "% of a core"
        return [(usage, f"{used:.0f} {unit}") for used, usage in worst]


def named(process: Process) -> str:
    """The process for people: number, user, and its command line without secrets."""
    return f"process {process.pid} ({process.user}): {masked(process.arguments)}"
