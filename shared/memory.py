"""The memory that this process may use: its control group's limit, or the machine's."""

from __future__ import annotations

import os
from pathlib import Path

_BOUNDS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def memory_bytes(bounds: tuple[str, ...] = _BOUNDS) -> int:
    """The least of the machine's memory and the bounds of this process' control group."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in bounds:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found)
