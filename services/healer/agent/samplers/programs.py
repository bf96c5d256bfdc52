"""The CPU time of configured programs, each as a series."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from services.healer.agent.samplers.base import Reading, Sampler, share
from services.healer.agent.settings import Watched
from services.healer.remediations.running import processes

_ITEM = "proc.cpu.used.percent"
Times = Mapping[str, tuple[str, float]]
"""A process' identity to its program and the seconds of CPU time it has used."""


class ProgramsCpu(Sampler):
    """CPU time of a program's processes since the previous call, relative to its cores.

    A process that began or ended between two calls counts with what was seen of it: its whole
    time when it began, nothing when it ended.
    """

    items = (_ITEM,)
    is_rate = True

    def __init__(self, programs: Sequence[Watched]) -> None:
        self._programs = programs
        self._before, self._at = self._times(), time.monotonic()

    def sample(self) -> list[Reading]:
        before, began = self._before, self._at
        self._before, self._at = self._times(), time.monotonic()
        span = self._at - began
        return [
            Reading(
                _ITEM,
                share(_used(self._before, before, watched.program), span * watched.cores),
                {"program": watched.program},
            )
            for watched in self._programs
        ]

    def _times(self) -> Times:
        return {
            process.identity: (process.program, process.cpu_s)
            for process in processes()
            if any(fnmatchcase(process.program, watched.program) for watched in self._programs)
        }


def _used(now: Times, before: Times, pattern: str) -> float:
    """Seconds used between two looks, by processes of the pattern."""
    return sum(
        seconds - before.get(identity, (program, 0.0))[1]
        for identity, (program, seconds) in now.items()
        if fnmatchcase(program, pattern)
    )
