"""What a door is to the fuzzer, and how it is tried until a time has come."""

from __future__ import annotations

import base64
import json
import random
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.hostile.fuzz.mutation import Parts, mutated

MAX_CPU_S = 30
"""CPU seconds for one input; each takes milliseconds, so that a busy machine changes nothing."""
MAX_GROWTH_MIB = 512
"""What a door may add to the peak of the process: its libraries, its caches, its largest input."""
_SEEDS = 30
_MUTATIONS = 100
"""The number of mutations of each seed before new seeds are drawn."""


class ViolationError(AssertionError):
    """A door did with an input what it may not do."""


class TooLong(BaseException):
    """An input takes more than its time. No ``except Exception`` of a service takes this."""


@dataclass(frozen=True)
class Door:
    """One way in.

    Args:
        name: what it is called in counts and files.
        seeds: draws that many inputs, beginning anew from a number.
        enter: tries one input and says how it ended; it raises for what may not be.
        fixed: the parts of an input that stay as they are.
        close: gives back what it holds.
    """

    name: str
    seeds: Callable[[int, int], Sequence[Parts]]
    enter: Callable[[Parts], str]
    fixed: frozenset[int] = frozenset()
    close: Callable[[], None] = lambda: None
    checked: Callable[[], int] = lambda: 0
    """How many good inputs were tried after others, and handled."""


@dataclass
class Counts:
    """What became of a door's inputs."""

    tried: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    exceptions: int = 0
    checked: int = 0
    peak_growth_mib: float = 0.0
    kept: str = ""

    def shown(self) -> dict[str, Any]:
        """As it is printed; without what is empty."""
        return {name: value for name, value in vars(self).items() if value or name != "kept"}


def drawn(strategy: st.SearchStrategy[Any], seed: int, count: int) -> list[Any]:
    """That many examples of a strategy, the same for the same seed."""
    found: list[Any] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found


def attack(
    make: Callable[[], Door], seconds: float, seed: int, folder: Path, most: int | None = None
) -> Counts:
    """Try inputs for so long, or so many of them; the first violation ends it and is kept.

    The door is made anew for each round of seeds, so that none meets one long history alone. The
    time begins after the first input, because compilers and libraries take theirs with it.
    """
    counts, chance = Counts(), random.Random(seed)
    began, ends = _peak_mib(), 0.0
    while True:
        with closing(make()) as door:
            for parts in _round(door, chance):
                if _enter(door, parts, counts, folder):
                    counts.peak_growth_mib = round(_peak_mib() - began, 1)
                    if counts.peak_growth_mib > MAX_GROWTH_MIB:
                        _keep(door, parts, counts, folder, f"{counts.peak_growth_mib} MiB more")
                ends = ends or time.monotonic() + seconds
                if counts.kept or time.monotonic() > ends or counts.tried == most:
                    counts.checked += door.checked()
                    return counts
            counts.checked += door.checked()


def _round(door: Door, chance: random.Random) -> Iterator[Parts]:
    seeds = list(door.seeds(chance.randrange(2**32), _SEEDS))
    yield from seeds
    for _ in range(_MUTATIONS):
        for parts in seeds:
            yield mutated(chance, parts, chance.choice(seeds), door.fixed)


def _enter(door: Door, parts: Parts, counts: Counts, folder: Path) -> bool:
    counts.tried += 1
    try:
        with capture_logs(), _cpu_bounded():
            counts.ended[door.enter(parts)] += 1
    except (Exception, TooLong):  # noqa: BLE001 - whatever it is, it is what is looked for
        counts.exceptions += 1
        _keep(door, parts, counts, folder, traceback.format_exc())
        return False
    return True


@contextmanager
def _cpu_bounded() -> Iterator[None]:
    def over(_number: int, _frame: object) -> None:
        raise TooLong(f"one input took more than {MAX_CPU_S} s of CPU time")

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _keep(door: Door, parts: Parts, counts: Counts, folder: Path, why: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{door.name}-{time.time_ns()}.json"
    encoded = [base64.b64encode(part).decode() for part in parts]
    path.write_text(json.dumps({"door": door.name, "why": why, "parts": encoded}, indent=1))
    counts.kept = str(path)


def kept(path: Path) -> tuple[str, Parts]:
    """The door's name and the input of such a file."""
    found = json.loads(path.read_text())
    return found["door"], tuple(base64.b64decode(part) for part in found["parts"])


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
