"""Runs doors in processes of their own: so that each one's memory is its own, and two at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from structlog.testing import capture_logs

from tests.hostile.fuzz.door import Counts, attack
from tests.hostile.fuzz.every import DOORS, share_of


def bounds(chosen: list[str], seconds: float, inputs: int) -> dict[str, tuple[float, int | None]]:
    """Seconds or inputs for each door."""
    if not inputs:
        return {name: (seconds / len(chosen), None) for name in chosen}
    whole = sum(map(share_of, chosen))
    return {name: (math.inf, -(-inputs * share_of(name) // whole)) for name in chosen}


def tried(
    limits: Mapping[str, tuple[float, int | None]], jobs: int, seed: int, kept: Path
) -> Iterator[tuple[str, Counts]]:
    """What became of each door, in a process of its own: none grows by what another has taken."""
    own = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=own, max_tasks_per_child=1) as pool:
        running: dict[Future[Counts], str] = {
            pool.submit(_one, name, within_s, most, seed, kept): name
            for name, (within_s, most) in limits.items()
        }
        for done in as_completed(running):
            if done.cancelled():
                continue
            yield running[done], done.result()
            if done.result().kept:
                pool.shutdown(wait=False, cancel_futures=True)


def _one(name: str, within_s: float, most: int | None, seed: int, kept: Path) -> Counts:
    with capture_logs():
        return attack(DOORS[name], within_s, seed, kept, most)
