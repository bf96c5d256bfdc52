"""Samples that show that the machine is alive, and how accurate its clock is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

from services.healer.agent.samplers.base import Reading, Sampler

_OFFSET = "sys.ntpd.offset"
_TIMEOUT_S = 2.0
_LEAP_FIELD, _SYSTEM_FIELD, _FIELDS = 13, 4, 14
_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4}


class Alive(Sampler):
    """A constant 1, which shows that the machine is alive."""

    items = ("host.alive",)

    def sample(self) -> list[Reading]:
        return [Reading("host.alive", 1.0)]


class Clock(Sampler):
    """The clock's offset as the time service of this machine knows it; without one, no value."""

    items = (_OFFSET,)

    def __init__(self) -> None:
        self._sources = [source for source in _SOURCES if shutil.which(source[0][0])]

    def sample(self) -> list[Reading]:
        for command, parse in self._sources:
            try:
                answer = subprocess.run(
                    command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            offset = parse(answer.stdout) if answer.returncode == 0 else None
            if offset is not None:
                return [Reading(_OFFSET, offset)]
        return []


def chrony_offset(text: str) -> float | None:
    """Milliseconds from ``chronyc -c tracking``; None while it is not synchronised."""
    fields = text.strip().split(",")
    if len(fields) < _FIELDS or fields[_LEAP_FIELD] == "Not synchronised":
        return None
    return _number(fields[_SYSTEM_FIELD], 1000.0)


def ntpq_offset(text: str) -> float | None:
    """Milliseconds from ``ntpq -c rv``; None while it is not synchronised."""
    found = re.search(r"\boffset=(-?[\d.]+)", text)
    return _number(found[1]) if found and "leap_alarm" not in text else None


def timesyncd_offset(text: str) -> float | None:
    """Milliseconds from ``timedatectl timesync-status``; None when it has asked no server."""
    found = re.search(r"^\s*Offset: ([+-]?[\d.]+)(us|ms|s|min)\s*$", text, re.MULTILINE)
    return _number(found[1], _UNITS_MS[found[2]]) if found else None


def _number(text: str, factor: float = 1.0) -> float | None:
    try:
        return float(text) * factor
    except ValueError:
        return None


_SOURCES: tuple[tuple[tuple[str, ...], Callable[[str], float | None]], ...] = (
    (("chronyc", "-c", "tracking"), chrony_offset),
    (("ntpq", "-n", "-c", "rv"), ntpq_offset),
    (("timedatectl", "timesync-status"), timesyncd_offset),
)
