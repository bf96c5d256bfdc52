"""The machine's table of mounts, read without a look at any of them.

A look at a network file system whose server is away does not return.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
_STOPPED = "emergency_ro"
_ESCAPED = re.compile(r"\\([0-7]{3})")


def table() -> str:
    """The table as the kernel gives it."""
    return os.fsdecode(_TABLE.read_bytes())  # text mode would make a new line of each \r in a name


def mounted() -> frozenset[str]:
    """The places of all mounts."""
    lines = table().split("\n")
    return frozenset(unescaped(line.split(" ")[4]) for line in lines if " - " in line)


def stopped(mounts: str) -> frozenset[str]:
    """The places where the kernel has ended all writing after an error.

    Newer kernels say so in an option, older ones make the file system read-only below a mount that
    is not. What somebody has mounted read-only is so in both.

    Args:
        mounts: the table.
    """
    found = set()
    for line in mounts.split("\n"):
        place, dash, origin = line.partition(" - ")
        if not dash:
            continue
        *_, mount, own = place.split(" ")[:6]
        options = {*origin.split(" ", 2)[2].split(",")}
        if _STOPPED in options or ("ro" in options and "ro" not in own.split(",")):
            found.add(unescaped(mount))
    return frozenset(found)


def unescaped(place: str) -> str:
    """The path of a mount as files are opened by it."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), place)
