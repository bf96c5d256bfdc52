"""Storing and restoring what the detector has learned of many series: time, bytes and memory.

``python -m bench.restore --series 100000``: the engine judges ``--points`` points of each series,
then its state is stored, stored again after a further point of ``--changed`` of the series, and a
process of its own takes it, as the next owner of a stream does. While the state is stored, no batch
is judged: ``held_s`` is for how long. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.surroundings import surroundings
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.samples import SampleBatch
from shared.snapshots import SnapshotDirectory

_SERIES_A_HOST = 100
_STEP_MS = 60_000


class Crowd:
    """A number of series, and the engine that judges them."""

    def __init__(self, series: int) -> None:
        self.engine = Engine(EngineSettings())
        self._series, self._noise = series, np.random.default_rng(1)
        self._hosts = [f"host{number}" for number in range(-(-series // _SERIES_A_HOST))]
        self._items = [f"item{number}" for number in range(_SERIES_A_HOST)]
        self._at = time.time_ns() // 1_000_000 - 7 * 86_400_000

    def judge(self, points: int, share: float = 1.0) -> None:
        """Judge further points of the first ``share`` of the series."""
        numbers = np.arange(round(share * self._series), dtype=np.int32)
        for _ in range(points):
            self._at += _STEP_MS
            self.engine.process(
                SampleBatch(
                    self._hosts,
                    self._items,
                    [""],
                    numbers // _SERIES_A_HOST,
                    numbers % _SERIES_A_HOST,
                    np.zeros(len(numbers), dtype=np.int32),
                    np.full(len(numbers), self._at, dtype=np.int64),
                    self._noise.normal(50, 5, len(numbers)),
                    clock_ms=self._at,
                )
            )


def restored(directory: Path) -> dict[str, float]:
    """The cost of the newest snapshot to this process."""
    before, begun = _peak(), time.process_time()
    _, stored = next(SnapshotDirectory(directory).newest_first())
    _, arrays = stored.unpack()
    engine = Engine(EngineSettings())
    engine.restore(arrays)
    return {
        "restore_cpu_s": round(time.process_time() - begun, 2),
        "restore_peak_mb": round(_peak() - before),
    }


def stored(store: SnapshotDirectory, offset: int, engine: Engine) -> dict[str, float]:
    """The cost of one snapshot."""
    cpu, begun = time.process_time(), time.monotonic()
    state = engine.snapshot()
    store.write(offset, state)
    return {
        "held_s": round(time.monotonic() - begun, 2),
        "cpu_s": round(time.process_time() - cpu, 2),
        "state_mb": round(sum(array.nbytes for array in state.values()) / 1e6),
        "written_mb": round(len(store.read(store.names()[0])) / 1e6, 1),
    }


def _peak() -> float:
    """The most memory that this process has had, in MB; rusage would count its parent's, too."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument(
        "--changed", type=float, default=1 / 6, help="share of the series with a further point"
    )
    parser.add_argument("--restore", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.restore is not None:
        print(json.dumps(restored(options.restore)))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        store, crowd = SnapshotDirectory(Path(directory)), Crowd(options.series)
        crowd.judge(options.points)
        found = {"first": stored(store, 0, crowd.engine)}
        crowd.judge(1, share=options.changed)
        found |= {"again": stored(store, 1, crowd.engine), "changed": options.changed}
        del crowd
        command = [sys.executable, "-m", "bench.restore", "--restore", directory]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    about = {"bench": "restore", "series": options.series, "points": options.points}
    print(json.dumps(about | found | json.loads(done.stdout) | surroundings()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
