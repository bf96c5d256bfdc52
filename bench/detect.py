"""Detectors in one run: points a second and core, and memory a series, beside other projects'.

Every detector, and the whole engine as a partition runs it (Arrow batch in, events out, the
default's votes and all that is kept beside them), judges and learns

- ``tick``: one point of each of 10,000 series at once, series after series;
- ``random``: 200,000 series in a random order, 10,000 a batch (fewer series where their state would
  not fit: ``random_series``).

Series are warmed up for four days at five minutes; a few hundred are, and their state is then
copied to all rows. Seconds are the process's own, on one core, so that other work on the machine
counts less; each figure is the median of ``--turns``, or of as many as ``--seconds`` allow (at
least three). Peers come with ``make bench-peers``; without them ours are measured alone. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.detect_peers import PEERS, Peer
from bench.surroundings import surroundings
from services.detector.detectors import make, registered
from services.detector.detectors.base import Tick, tick_of
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.columns import Array, Columns
from shared.name_hashes import NameHashes
from shared.samples import SampleBatch, decode, encode

Floats = NDArray[np.float64]
STEP_MS = 300_000
START_MS = 1_750_000_000_000
WARM_SERIES, WARM_POINTS = 400, 4 * 288
BATCH, MANY = 10_000, 200_000
_ITEMS = 20
_MIN_TURNS = 3
_MAX_STATE_BYTES = 1_000_000_000
_ENGINES: dict[str, dict[str, object]] = {
    **{mode: {"mode": mode} for mode in ("surprise", "branch", "vote", "skyline")},
    "panel": {"mode": "panel", "panel": ["isolation_forest", "grubbs"], "needed": 2},
}


def curves(points: int, series: int, seed: int = 7) -> Floats:
    """(points, series): daily rhythms, levels that wander, bursts over rest, noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(points)[:, None]
    noise = rng.normal(size=(points, series))
    daily = 50 + 20 * np.sin(2 * np.pi * (at / 288 + rng.random(series))) + 2 * noise
    wander = 100 + 0.3 * noise.cumsum(axis=0)
    burst = np.where(rng.random((points, series)) < 0.03, 40.0, 1.0) * (1 + 0.1 * np.abs(noise))
    counts = rng.poisson(5, size=(points, series)).astype(np.float64)
    kind = np.arange(series) % 4
    found: Floats = np.choose(kind, [daily, wander, burst, counts])
    return found


def batches(data: Floats, rows: int, turns: int, random: bool) -> Iterator[tuple[Array, ...]]:
    """(rows, times, values) of ``turns`` batches that follow the warm-up."""
    rng = np.random.default_rng(11)
    parts = max(1, rows // BATCH)
    order = rng.permutation(rows) if random else np.arange(rows)
    for turn in range(turns):
        at, part = WARM_POINTS + turn // parts, turn % parts
        chosen = order[part * BATCH : (part + 1) * BATCH]
        moment = START_MS + at * STEP_MS + part * STEP_MS // parts
        yield chosen, np.full(len(chosen), moment), data[at, chosen % WARM_SERIES]


@dataclass(frozen=True)
class Effort:
    """The number of times a figure is taken: ``turns``, fewer if that takes ``seconds`` of CPU."""

    turns: int
    seconds: float

    def median_rate(self, step: Callable[[int], int]) -> float:
        """Points a CPU second of ``step(turn)``, which says how many points it has done."""
        rates: list[float] = []
        start = time.process_time()
        for turn in range(self.turns):
            begin = time.process_time()
            if begin - start > self.seconds and len(rates) >= _MIN_TURNS:
                break
            done = step(turn)
            rates.append(done / (time.process_time() - begin))
        return statistics.median(rates)


def detector_rates(name: str, data: Floats, effort: Effort) -> dict[str, float]:
    """One detector alone."""
    detector = make(name)
    warm = Columns(detector.columns())
    warm.grow(WARM_SERIES)
    limit = np.full(WARM_SERIES, 90.0)
    for point in range(WARM_POINTS):
        moment = np.full(WARM_SERIES, START_MS + point * STEP_MS)
        detector.step(warm, tick_of(data[point], moment, limit=limit))
    found: dict[str, float] = {"state_bytes": warm.bytes_per_series}
    room = max(warm.bytes_per_series, 1)
    many = min(MANY, max(BATCH, _MAX_STATE_BYTES // room // WARM_SERIES * WARM_SERIES))
    for kind, rows in (("tick", BATCH), ("random", many)):
        state = Columns(detector.columns())
        state.restore(_copied(warm.snapshot(), rows), rows)
        ticks = [
            tick_of(values, times, rows=chosen, limit=np.full(len(chosen), 90.0))
            for chosen, times, values in batches(data, rows, effort.turns, kind == "random")
        ]
        if kind == "tick":
            ticks = [replace(tick, rows=slice(0, rows)) for tick in ticks]

        def step(turn: int, state: Columns = state, ticks: list[Tick] = ticks) -> int:
            return len(detector.step(state, ticks[turn]).judged)

        found[kind] = round(effort.median_rate(step))
        found[f"{kind}_series"] = rows
    return found


def engine_rates(mode: str, data: Floats, effort: Effort) -> dict[str, float]:
    """The whole of a partition: decoding, alignment, votes, rhythm, episodes, what plots need."""
    settings = EngineSettings.model_validate({"combination": _ENGINES[mode]})
    warm = Engine(settings)
    names = _Names(WARM_SERIES)
    for point in range(WARM_POINTS):
        moment = np.full(WARM_SERIES, START_MS + point * STEP_MS)
        warm.process(names.batch(np.arange(WARM_SERIES), moment, data[point]))
    found: dict[str, float] = {"state_bytes": warm.bytes_per_series}
    many = min(MANY, _MAX_STATE_BYTES // warm.bytes_per_series // WARM_SERIES * WARM_SERIES)
    for kind, rows in (("tick", BATCH), ("random", many)):
        before = _resident()
        names = _Names(rows)
        engine = _grown(warm, settings, names, rows)
        found[f"{kind}_resident_bytes"] = round((_resident() - before) / rows)
        ahead = batches(data, rows, effort.turns, kind == "random")
        bodies = [encode(names.batch(*one)) for one in ahead]
        # As the service does.
        gc.freeze()
        counts = engine.counts
        seen, done = counts.judged + counts.not_judged, 0

        def step(turn: int, engine: Engine = engine, bodies: list[bytes] = bodies) -> int:
            nonlocal done
            batch = decode(bodies[turn], trusted=True)
            engine.process(batch)
            done += len(batch)
            return len(batch)

        found[kind] = round(effort.median_rate(step))
        found[f"{kind}_series"] = rows
        assert counts.judged + counts.not_judged == seen + done
    return found


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Names:
    """Series as a fleet has them: some items a host, with the hashes the gateway sends along."""

    def __init__(self, series: int) -> None:
        self.hosts = [f"host{at}" for at in range(math.ceil(series / _ITEMS))]
        self.items = [f"bench.item{at}" for at in range(_ITEMS)]
        hashes = NameHashes()
        self._hashes = (hashes.of(self.hosts), hashes.of(self.items), hashes.of([""]))

    def batch(self, rows: Array, time_ms: Array, values: Floats) -> SampleBatch:
        codes = (rows // _ITEMS).astype(np.int32), (rows % _ITEMS).astype(np.int32)
        zero = np.zeros(len(rows), dtype=np.int32)
        return SampleBatch(
            self.hosts,
            self.items,
            [""],
            *codes,
            zero,
            time_ms,
            values,
            int(time_ms[-1]),
            self._hashes,
        )

    def text(self, rows: int) -> NDArray[np.uint8]:
        """The names of the first ``rows`` series, as a snapshot has them."""
        names = [(self.hosts[row // _ITEMS], self.items[row % _ITEMS], "") for row in range(rows)]
        return np.frombuffer(orjson.dumps(names), dtype=np.uint8)


def _copied(arrays: dict[str, Array], rows: int) -> dict[str, Array]:
    """The rows of warmed-up series repeatedly."""
    place = np.arange(rows) % WARM_SERIES
    return {name: array[place] for name, array in arrays.items()}


def _grown(warm: Engine, settings: EngineSettings, names: _Names, rows: int) -> Engine:
    """An engine with ``rows`` series, each in the state of a warmed-up one."""
    arrays = warm.snapshot()
    apart = ("deriver/", "series/", "liveness/")
    kept = {name: array for name, array in arrays.items() if name.startswith(apart)}
    rest = {name: array for name, array in arrays.items() if name not in kept}
    kept["series/names"] = names.text(rows)
    engine = Engine(settings)
    engine.restore({**kept, **_copied(rest, rows)})
    return engine


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=40, help="batches a figure")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU, of a figure at most")
    parser.add_argument("--detectors", nargs="*", help="only these (default: all)")
    parser.add_argument("--engines", nargs="*", default=list(_ENGINES), help="only these modes")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = curves(WARM_POINTS + options.turns + 1, WARM_SERIES)
    ours: dict[str, dict[str, float]] = {}
    effort = Effort(options.turns, options.seconds)
    began = time.monotonic()

    def say(name: str, found: object) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {name:<26} {found}", flush=True)

    for mode in options.engines:
        say(f"engine:{mode}", ours.setdefault(f"engine:{mode}", engine_rates(mode, data, effort)))
    names = list(registered()) if options.detectors is None else options.detectors
    for name in names:
        say(name, ours.setdefault(name, detector_rates(name, data, effort)))
    peers: dict[str, float] = {}
    for name, peer in PEERS.items():
        rate = _peer_rate(peer, data)
        if rate is not None:
            peers[name] = rate
            say(name, f"{rate:,.0f} points/s")
    print(json.dumps(_summary(ours, peers, options)))
    return 0


def _peer_rate(peer: Peer, data: Floats) -> float | None:
    try:
        work = peer(data, WARM_POINTS)
    except ImportError as error:
        print(f"not measured: {error}; `make bench-peers` brings it", flush=True)
        return None
    return round(Effort(3, 10.0).median_rate(lambda _: work()), 1)


def _summary(
    ours: dict[str, dict[str, float]], peers: dict[str, float], options: argparse.Namespace
) -> dict[str, object]:
    default = ours.get("engine:surprise", {}).get("tick")
    ratios = {name: round(default / rate, 2) for name, rate in peers.items() if default}
    return {
        "bench": "detect",
        "turns": options.turns,
        "points_per_s_core": ours,
        "peers": peers,
        "default_over_peer": ratios,
        **surroundings("numpy", "numba", "river", "pyod", "scikit-learn"),
    }


if __name__ == "__main__":
    sys.exit(main())
