"""Memory and swap."""

from __future__ import annotations

import psutil

from services.healer.agent.samplers.base import Reading, Sampler, share


class Memory(Sampler):
    """Memory in use, caches not counted, and swap in use (0 on a machine without swap)."""

    items = ("mem.memused.percent", "mem.swapused.percent")

    def sample(self) -> list[Reading]:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        return [
            Reading("mem.memused.percent", share(memory.total - memory.available, memory.total)),
            Reading("mem.swapused.percent", share(swap.used, swap.total)),
        ]
