"""CPU time and load."""

from __future__ import annotations

import os

import psutil

from services.healer.agent.samplers.base import Reading, Sampler, share


class Cpu(Sampler):
    """Shares of the CPU time since the previous call, over all cores."""

    items = ("cpu.idle", "cpu.user")
    is_rate = True

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def sample(self) -> list[Reading]:
        now, before = psutil.cpu_times(), self._before
        self._before = now
        spent = {name: getattr(now, name) - getattr(before, name) for name in now._fields}
        # The kernel counts a guest's time as user time already.
        total = sum(value for name, value in spent.items() if not name.startswith("guest"))
        if total <= 0:
            return []
        return [
            Reading("cpu.idle", share(spent["idle"], total)),
            Reading("cpu.user", share(spent["user"], total)),
        ]


class Load(Sampler):
    """Load averages for each core."""

    items = ("load.1min", "load.5min")

    def sample(self) -> list[Reading]:
        cores = os.cpu_count() or 1
        one, five, _ = os.getloadavg()
        return [Reading("load.1min", one / cores), Reading("load.5min", five / cores)]
