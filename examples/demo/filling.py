"""The rate at which the small volume fills, and its initial usage."""

from __future__ import annotations

from pathlib import Path

CAPACITY_BYTES = 40_000_000
_FILL_S = 110
"""Seconds in which the volume would be full, on an idle machine."""
_MAX_SLOWNESS = 5
"""A volume that fills still slower shows nothing more."""
_RISE_S = 180
"""A curve that has risen for so long is known well enough, on any machine."""


def fill_s(slowness: float) -> float:
    """The seconds in which the whole volume would be full on a machine that is so slow."""
    return _FILL_S * min(slowness, _MAX_SLOWNESS)


def filled_before(volume: Path, threshold: float, slowness: float) -> None:
    """Leave finished logs in the volume, on a slow machine.

    There it fills slowly, so that a prediction comes in time: from empty, that would take long
    without showing more.
    """
    share = threshold / 100 - _RISE_S / fill_s(slowness)
    size = int(CAPACITY_BYTES * share)
    if size > 0:
        line = b"2026-01-01 00:00:00 INFO what was logged before\n"
        (volume / "before.log.1").write_bytes(line * (size // len(line)))


def filled_bytes(volume: Path) -> int:
    """The size of all files in the volume."""
    return sum(_size(file) for file in volume.iterdir())


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # renamed or cleaned away meanwhile
        return 0


def rate(volume: Path, threshold: float, slowness: float) -> float:
    """Bytes per second, by which the threshold is reached no sooner than on an idle machine."""
    left = CAPACITY_BYTES * threshold / 100 - filled_bytes(volume)
    return min(CAPACITY_BYTES / fill_s(slowness), left / (_FILL_S * threshold / 100))
