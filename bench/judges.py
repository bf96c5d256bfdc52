"""One judge or two, fed from memory: how far judging itself scales, without broker and senders.

Each child is a process with the workers of its streams and the encoded batches of its machines in
memory; nothing is shared between children. One child with all streams and two with half of them
each judge the same samples in turns, pair by pair. Rates need cores that are free; CPU time does
not: two judges are at most ``2 x alone / together`` times as fast as one, by CPU time of a sample,
however many cores there are. Each approach is such a set of pairs. The last line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pyarrow as pa

from bench.surroundings import surroundings
from services.detector.settings import EngineSettings
from services.detector.worker import DetectorWorker
from shared.columns import Array
from shared.samples import SampleBatch, encode
from shared.snapshots import Stored
from shared.topology import partition_of

_PARTITIONS = 4
_OF_A_MACHINE = 250
_BEGIN_MS = 1_700_000_000_000
_STEP_MS = 15_000
_WARM_ROUNDS = 40
"""Rounds before the first pair: states are made, and every kernel is loaded."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "ARROW_NUM_THREADS")


@dataclass(frozen=True)
class Approach:
    """A way to run judges."""

    series: int = 10_000
    batch: int = 2_500
    """The samples that one batch has at most."""
    pinned: bool = False
    one_thread: bool = False
    collects: bool = True

    @property
    def machines(self) -> list[str]:
        return [f"host{number:05d}" for number in range(self.series // _OF_A_MACHINE)]


APPROACHES: Mapping[str, Approach] = {
    "as it is": Approach(),
    "batches of 500": Approach(batch=500),
    "batches of 10,000": Approach(batch=10_000, series=40_000),
    "100,000 series": Approach(series=100_000),
    "each on a core of its own": Approach(pinned=True),
    "one thread in libraries": Approach(one_thread=True),
    "no garbage collector": Approach(collects=False),
}


class Feed:
    """The batches of some streams' machines, round after round, with new values and times."""

    def __init__(self, streams: frozenset[int], approach: Approach) -> None:
        self._rng = np.random.default_rng(1)
        self._round = 0
        self._of: list[tuple[int, SampleBatch]] = []
        each = approach.batch // _OF_A_MACHINE
        for stream in sorted(streams):
            own = [name for name in approach.machines if partition_of(name, _PARTITIONS) == stream]
            parts = [own[first : first + each] for first in range(0, len(own), each)]
            self._of += [(stream, _batch(part)) for part in parts]
        self.samples = sum(len(batch) for _, batch in self._of)
        """The samples of a round."""

    def rounds(self, number: int) -> list[tuple[int, bytes]]:
        """Encoded batches of ``number`` rounds, oldest first."""
        made = []
        for _ in range(number):
            now = _BEGIN_MS + self._round * _STEP_MS
            self._round += 1
            for stream, batch in self._of:
                values = self._rng.normal(50, 5, len(batch))
                times = np.full(len(batch), now, dtype=np.int64)
                made.append((stream, encode(replace(batch, time_ms=times, value=values))))
        return made


def _batch(hosts: list[str]) -> SampleBatch:
    """One sample for each series of these machines."""
    items = [f"http_request_duration_seconds_{number}" for number in range(_OF_A_MACHINE)]
    size = len(hosts) * _OF_A_MACHINE
    return SampleBatch(
        hosts,
        items,
        [""],
        np.repeat(np.arange(len(hosts), dtype=np.int32), _OF_A_MACHINE),
        np.tile(np.arange(_OF_A_MACHINE, dtype=np.int32), len(hosts)),
        np.zeros(size, dtype=np.int32),
        np.zeros(size, dtype=np.int64),
        np.zeros(size),
    )


class _NoSnapshots:
    """Judges without a store."""

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        """Store nothing."""

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        return iter(())

    def begin_again(self) -> None:
        """Have nothing to begin with."""


def _judge(pipe: Connection, core: int, streams: frozenset[int], approach: Approach) -> None:
    """Judge so many rounds whenever asked, and answer the samples and the time used."""
    if approach.pinned:
        os.sched_setaffinity(0, {core})
    if approach.one_thread:
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
    feed = Feed(streams, approach)
    workers = {s: DetectorWorker(s, EngineSettings(), _NoSnapshots()) for s in streams}
    _judged(workers, feed.rounds(_WARM_ROUNDS))
    gc.collect()
    gc.freeze()
    if not approach.collects:
        gc.disable()
    pipe.send({})
    while (rounds := pipe.recv()) is not None:
        batches = feed.rounds(rounds)
        pipe.send({})
        pipe.recv()  # Both begin at once.
        begin, cpu = time.monotonic(), time.process_time()
        _judged(workers, batches)
        used = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - begin}
        pipe.send(used | {"samples": rounds * feed.samples})


def _judged(workers: Mapping[int, DetectorWorker], batches: list[tuple[int, bytes]]) -> None:
    for offset, (stream, batch) in enumerate(batches):
        for _event in workers[stream].process(offset, batch):
            pass


class Judge:
    """A child process."""

    def __init__(self, core: int, streams: frozenset[int], approach: Approach) -> None:
        # Libraries read these when they are loaded.
        names = _THREADS if approach.one_thread else ()
        os.environ.update(dict.fromkeys(names, "1"))
        own, other = multiprocessing.Pipe()
        self.pipe = own
        start = multiprocessing.get_context("spawn").Process
        self.process = start(target=_judge, args=(other, core, streams, approach), daemon=True)
        self.process.start()
        for name in names:
            del os.environ[name]

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join()


def _together(judges: list[Judge], rounds: int) -> list[dict[str, float]]:
    """Let these judge at once."""
    steps: list[Callable[[Judge], Any]] = [
        lambda judge: judge.pipe.send(rounds),
        lambda judge: judge.pipe.recv(),
        lambda judge: judge.pipe.send(True),
    ]
    for step in steps:
        for judge in judges:
            step(judge)
    return [judge.pipe.recv() for judge in judges]


def measured(approach: Approach, pairs: int, samples: int) -> dict[str, Any]:
    """Pairs of one judge with all streams, and two with half of them each."""
    streams = frozenset(range(_PARTITIONS))
    half = _half(approach.machines)
    alone = Judge(0, streams, approach)
    two = [Judge(core, part, approach) for core, part in enumerate((half, streams - half))]
    for judge in (alone, *two):
        judge.pipe.recv()
    rounds = max(1, samples // approach.series)
    found = []
    try:
        for _ in range(pairs):
            (one,), both = _together([alone], rounds), _together(two, rounds)
            found.append(_pair(one, both))
    finally:
        for judge in (alone, *two):
            judge.close()
    return {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}


def _half(machines: list[str]) -> frozenset[int]:
    """The two streams that have most nearly half of the machines."""
    load = [sum(partition_of(m, _PARTITIONS) == s for m in machines) for s in range(_PARTITIONS)]
    halves = [frozenset({0, other}) for other in range(1, _PARTITIONS)]
    return min(halves, key=lambda half: abs(sum(load[s] for s in half) - len(machines) / 2))


def _pair(one: Mapping[str, float], both: list[dict[str, float]]) -> dict[str, float]:
    samples = sum(each["samples"] for each in both)
    cpu = sum(each["cpu"] for each in both)
    return {
        "one_us": 1e6 * one["cpu"] / one["samples"],
        "two_us": 1e6 * cpu / samples,
        # By CPU: with a core for each, and by the slower of the two, whose share is larger.
        "scales_by_cpu": 2 * (one["cpu"] / one["samples"]) / (cpu / samples),
        "scales_as_shared_out": one["cpu"] / max(each["cpu"] for each in both),
        "scales_by_time": one["wall"] / max(each["wall"] for each in both),
    }


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(APPROACHES), default=list(APPROACHES))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=500_000, help="of each half of a pair")
    options = parser.parse_args()
    results = {}
    for name in options.only:
        results[name] = measured(APPROACHES[name], options.pairs, options.samples)
        print(name, json.dumps(results[name]), flush=True)
    about = surroundings("numpy", "numba", "pyarrow")
    print(json.dumps({"bench": "judges", "pairs": options.pairs, "approaches": results} | about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
