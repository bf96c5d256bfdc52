"""Times a replay of machines x days x ten items, hourly, read from Parquet.

The machines are simulated: load with a daily rhythm, memory with leaks and restarts, disks that
grow steadily, in bursts, or are rotated, some of which fill; seeded, so that every run replays the
same. The last line is JSON: seconds, what was found, versions.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from bench.surroundings import surroundings
from replay.course import Course, counts, processes_for
from replay.figures import figures
from replay.sources import read
from services.detector.settings import EngineSettings as Detector
from services.healer.model.policy import Policy
from services.predictor.settings import EngineSettings as Predictor

Floats = NDArray[np.float64]
_HOUR_MS = 3_600_000
_BEGIN_MS = 1_700_000_000_000 // _HOUR_MS * _HOUR_MS
_POLICY = {"rules": [{"items": "df.bytes.*", "mode": "automatic", "remediation": "clean-logs"}]}


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--processes", type=int, default=0, help="0: one a core")
    parser.add_argument("--keep", type=Path, help="write the recorded series here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = options.keep or Path(directory, "recorded.parquet")
        _record(path, options.machines, 24 * options.days)
        _replay(path, [1, 2], 1)
        begin, cpu = time.monotonic(), _cpu()
        found, events = _replay(path, None, options.processes)
        seconds, cpu = time.monotonic() - begin, _cpu() - cpu
    print(
        json.dumps(
            {
                "bench": "replay",
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu, 1),
                "events": events,
                **found,
                **surroundings("numpy", "numba", "pydantic"),
            }
        )
    )
    return 0


def _cpu() -> float:
    """Seconds of this process and of those it has ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def _replay(
    path: Path, warm: list[int] | None, processes: int
) -> tuple[dict[str, object], dict[str, int]]:
    samples = read([path])
    if warm is not None:
        # The first use compiles, which is not to be measured.
        samples = samples.select(samples.host_code < len(warm))
    course = Course(Detector(), Predictor(), Policy.model_validate(_POLICY))
    events = counts(course.run(samples, _HOUR_MS, processes=processes or processes_for(samples)))
    return figures(course.outcome), dict(events)


def _record(path: Path, machines: int, hours: int) -> None:
    rng = np.random.default_rng(1)
    values = {name: make(rng, machines, hours) for name, make in _ITEMS.items()}
    hosts = [f"host{number}" for number in range(machines)]
    count = machines * hours
    times = np.repeat(_BEGIN_MS + _HOUR_MS * np.arange(hours), machines)
    host = pa.DictionaryArray.from_arrays(
        np.tile(np.arange(machines, dtype=np.int32), hours), hosts
    )
    tables = [
        pa.table(
            {
                "host": host,
                "item": pa.DictionaryArray.from_arrays(np.zeros(count, dtype=np.int32), [name]),
                "time": times,
                "value": table.T.ravel(),
            }
        )
        for name, table in values.items()
    ]
    parquet.write_table(pa.concat_tables(tables).unify_dictionaries(), path)


def _daily(rng: np.random.Generator, machines: int, hours: int, scale: float) -> Floats:
    """A daily rhythm of each machine's own height and hour, with noise that remembers."""
    height = scale * rng.gamma(2.0, 0.5, size=(machines, 1))
    moment = 2 * np.pi * (np.arange(hours) / 24 + rng.normal(scale=0.1, size=(machines, 1)))
    noise = rng.normal(scale=0.15, size=(machines, hours))
    for hour in range(1, hours):
        noise[:, hour] += 0.6 * noise[:, hour - 1]
    busy = height * (1 + 0.5 * np.sin(moment) + noise)
    # Now and then a job of some hours.
    starts = rng.random((machines, hours)) < 0.002
    for length in range(6):
        busy[:, length:] += np.where(starts[:, : hours - length], 0.8 * scale, 0.0)
    return np.maximum(busy, 0.0)


def _percent(scale: float) -> Callable[[np.random.Generator, int, int], Floats]:
    return lambda rng, machines, hours: np.minimum(100.0, _daily(rng, machines, hours, scale))


def _idle(rng: np.random.Generator, machines: int, hours: int) -> Floats:
    return np.clip(100.0 - _daily(rng, machines, hours, 25.0), 0.0, 100.0)


def _disk(rng: np.random.Generator, machines: int, hours: int) -> Floats:
    """Steady growth for most, bursts for some, rotation for some; one in twenty fills quickly."""
    pace = rng.gamma(1.0, 0.01, size=machines)
    pace[rng.random(machines) < 0.05] += 0.12
    growth = pace[:, None] * rng.gamma(2.0, 0.5, size=(machines, hours))
    bursts = (rng.random((machines, hours)) < 0.01) * rng.gamma(1.0, 1.0, size=(machines, hours))
    growth += bursts * (rng.random(machines) < 0.3)[:, None]
    used = np.empty((machines, hours))
    level = rng.uniform(20, 75, size=machines)
    rotated = rng.random(machines) < 0.3
    for hour in range(hours):
        level = level + growth[:, hour]
        if hour % 24 == 3:
            level = np.where(rotated, level - growth[:, max(0, hour - 23) : hour + 1].sum(1), level)
        # Somebody cleans up what is full, half a day later.
        full = level >= 97
        level = np.where(full, rng.uniform(40, 60, size=machines), level)
        used[:, hour] = level
    return np.clip(used, 0, 100)


def _inodes(rng: np.random.Generator, machines: int, hours: int) -> Floats:
    return np.clip(0.4 * _disk(rng, machines, hours), 0, 100)


def _memory(rng: np.random.Generator, machines: int, hours: int) -> Floats:
    """Level with noise; one in twenty leaks and is restarted at 99 %."""
    leak = np.where(rng.random(machines) < 0.05, rng.uniform(0.1, 0.5, size=machines), 0.0)
    base = rng.uniform(30, 70, size=machines)
    level, used = base.copy(), np.empty((machines, hours))
    for hour in range(hours):
        level = np.where(level >= 99, base, level + leak)
        used[:, hour] = level
    return np.clip(used + rng.normal(scale=0.8, size=used.shape), 0, 100)


_ITEMS = {
    "cpu.idle": _idle,
    "load.5min": lambda rng, machines, hours: _daily(rng, machines, hours, 0.6),
    "disk.io.util": _percent(20.0),
    "disk.io.await": lambda rng, machines, hours: _daily(rng, machines, hours, 15.0),
    "df.bytes.used.percent": _disk,
    "df.inodes.used.percent": _inodes,
    "mem.memused.percent": _memory,
    "mem.swapused.percent": _percent(5.0),
    "net.if.in.usage": _percent(15.0),
    "net.if.out.usage": _percent(15.0),
}

if __name__ == "__main__":
    sys.exit(main())
