"""Series as operations teams send them, without a fault: how many alarms come of each kind?

    python -m bench.operators [--seed N] [--series N] [--steps MINUTES …] [--days DAYS]

Reports alarms a series and week, where the budget says 0.5, of every kind at every step. Settings
are chosen with other seeds than the default one. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np

from bench.scorers import Series, of_detector
from bench.strangers import SEED
from bench.surroundings import surroundings
from bench.synthetic import START_MS

Random = np.random.Generator
Floats = np.ndarray
Maker = Callable[[Random, Floats], Floats]
"""Values at the given days since a Monday's midnight."""


def _hour(days: Floats) -> Floats:
    return days % 1 * 24


def _office(days: Floats) -> Floats:
    return ((days % 7 < 5) & (_hour(days) >= 9) & (_hour(days) < 17)).astype(np.float64)


def _bursts(rng: Random, n: int, share: float, length: int) -> Floats:
    found = np.zeros(n)
    for begin in np.flatnonzero(rng.random(n) < share / length):
        found[begin : begin + 1 + rng.poisson(length - 1)] = 1
    return found


def _now_and_then(rng: Random, n: int, share: float, values: Floats) -> Floats:
    """One of ``values``, another one after ``share`` of the points."""
    return values[np.cumsum(rng.random(n) < share) % len(values)]


def _saw_tooth(rng: Random, n: int) -> Floats:
    found, level = np.empty(n), 20.0
    for at in range(n):
        level += 1 + 0.5 * rng.normal()
        if level > 60 + 8 * rng.random():
            level = 20 + 3 * rng.random()
        found[at] = level
    return found


def _restarts(rng: Random, n: int, mean: float) -> Floats:
    """Points since the last restart, of which one comes after ``mean`` points at random."""
    places = np.arange(n)
    begun = rng.random(n) < 1 / mean
    return (places - np.maximum.accumulate(np.where(begun, places, 0))).astype(np.float64)


def _queue(rng: Random, n: int, served: float) -> Floats:
    found, waiting = np.empty(n), 0
    for at, (come, gone) in enumerate(zip(rng.poisson(2, n), rng.poisson(served, n), strict=True)):
        waiting = max(0, waiting + come - gone)
        found[at] = waiting
    return found


def _sensor(rng: Random, n: int) -> Floats:
    found = 0.05 * rng.normal(size=n)
    for at in range(1, n):
        found[at] += 0.99 * found[at - 1]
    return 40 + found


KINDS: dict[str, Maker] = {
    "constant": lambda _, t: np.full(len(t), 3.0),
    "alternating": lambda _, t: np.arange(len(t)) % 2 * 1.0,
    "days left of a certificate": lambda _, t: np.floor(90 - t % 60),
    "charge of a battery": lambda _, t: np.round(100 - np.abs(t * 168 % 160 - 80) * 0.75),
    "integers": lambda rng, t: np.rint(50 + 0.3 * rng.normal(size=len(t))),
    "rare counts": lambda rng, t: rng.poisson(0.02, len(t)).astype(np.float64),
    "very rare counts": lambda rng, t: rng.poisson(0.002, len(t)).astype(np.float64),
    "counts": lambda rng, t: rng.poisson(2, len(t)).astype(np.float64),
    "counts of office hours": lambda rng, t: rng.poisson(0.1 + 20 * _office(t)) * 1.0,
    "scattered counts": lambda rng, t: rng.negative_binomial(0.5, 0.05, len(t)) * 1.0,
    "rate of rare events": lambda rng, t: rng.poisson(0.3, len(t)) / 60.0,
    "two exact levels": lambda rng, t: _now_and_then(rng, len(t), 1 / 60, np.array([4.0, 8.0])),
    "two levels, rarely": lambda rng, t: _now_and_then(rng, len(t), 1 / 500, np.array([4.0, 8.0])),
    "a limit that is set": lambda rng, t: _now_and_then(
        rng, len(t), 1 / 1500, 2.0 ** np.arange(8, 14)
    ),
    "replicas": lambda rng, t: (
        3 + np.clip(np.cumsum((rng.random(len(t)) < 0.007) * rng.choice([-1, 1], len(t))), -2, 6)
    ),
    "up": lambda rng, t: 1 - _bursts(rng, len(t), 0.005, 5),
    "packets lost": lambda rng, t: np.where(
        rng.random(len(t)) < 0.02, np.round(100 * rng.beta(1, 20, len(t)), 1), 0.0
    ),
    "bursts of errors": lambda rng, t: (
        _bursts(rng, len(t), 0.01, 4) * np.ceil(rng.lognormal(1, 1, len(t)))
    ),
    "latency": lambda rng, t: rng.lognormal(3, 0.5, len(t)),
    "at its limit": lambda rng, t: np.minimum(100.0, 97 + 3 * rng.normal(size=len(t))),
    "idle share": lambda rng, t: np.round(100 - np.abs(rng.normal(0, 0.5, len(t))), 1),
    "two modes": lambda rng, t: (
        np.where(rng.random(len(t)) < 0.3, 80, 20) + rng.normal(size=len(t))
    ),
    "a job of each night": lambda rng, t: (
        5 + rng.normal(size=len(t)) + 60 * ((_hour(t) >= 2) & (_hour(t) < 3))
    ),
    "traffic of working days": lambda rng, t: (
        5 + 100 * _office(t) * (1 + 0.1 * rng.normal(size=len(t))) + rng.normal(size=len(t))
    ),
    "levels of weekdays": lambda rng, t: (
        np.where(t % 7 < 5, 1000, 300) * (1 + 0.05 * rng.normal(size=len(t)))
    ),
    "random walk": lambda rng, t: 100 + rng.normal(size=len(t)).cumsum(),
    "steps of a disk": lambda rng, t: (
        40 + ((rng.random(len(t)) < 0.01) * rng.lognormal(-1, 1, len(t))).cumsum()
    ),
    "log rotation": lambda rng, t: 40 + 5 * (t % 1) + 0.02 * rng.normal(size=len(t)),
    "queue": lambda rng, t: _queue(rng, len(t), 2.2),
    "queue, mostly empty": lambda rng, t: _queue(rng, len(t), 4),
    "temperature by tenths": lambda rng, t: np.round(_sensor(rng, len(t)), 1),
    "temperature by halves": lambda rng, t: np.round(2 * _sensor(rng, len(t))) / 2,
    "one of three was sent": lambda rng, t: np.where(
        rng.random(len(t)) < 0.7, np.nan, 50 + rng.normal(size=len(t))
    ),
    "share of few": lambda rng, t: rng.binomial(3, 0.05, len(t)) / 3,
    "successes": lambda rng, t: np.round(100 - 100 * rng.binomial(30, 0.01, len(t)) / 30, 2),
    "saw-tooth": lambda rng, t: _saw_tooth(rng, len(t)),
    "leak with restarts": lambda rng, t: (
        200 + 5 * _restarts(rng, len(t), 48) + 2 * rng.normal(size=len(t))
    ),
    "uptime": lambda _, t: t % 9.3 * 24,
    "counter with resets": lambda rng, t: _restarts(rng, len(t), 150) * 60 + rng.poisson(3, len(t)),
    "heavy tails": lambda rng, t: 50 + rng.standard_t(1.1, len(t)),
    "tail of Pareto": lambda rng, t: rng.pareto(1.5, len(t)) + 1,
    "a job of each week": lambda rng, t: (
        20 + rng.normal(size=len(t)) + 50 * ((t % 7 >= 6) & (_hour(t) >= 1) & (_hour(t) < 4))
    ),
}
_SPANS = {0.25: 7, 1: 9, 5: 30, 60: 84, 1440: 380}
"""Days looked at, at each step in minutes."""
_MINUTE_MS, _WEEK = 60_000, 7


def made(minutes: float, days: float, seed: int, number: int) -> list[tuple[str, Series]]:
    """``number`` series of each kind."""
    at = np.arange(round(days * 1440 / minutes)) * (minutes / 1440)
    times = START_MS + np.rint(at * 1440 * _MINUTE_MS).astype(np.int64)
    return [
        (kind, Series(times, maker(np.random.default_rng([seed, place, one]), at)))
        for place, (kind, maker) in enumerate(KINDS.items())
        for one in range(number)
    ]


def alarms(minutes: float, days: float, seed: int, number: int) -> dict[str, float]:
    """Alarms a series and week, by kind."""
    series = made(minutes, days, seed, number)
    scored = of_detector("surprise", budgeted=True)([one for _, one in series], 0.5)
    found = dict.fromkeys(KINDS, 0.0)
    for (kind, _), one in zip(series, scored, strict=True):
        found[kind] += len(one.opened) / number / (days / _WEEK)
    return {kind: round(rate, 2) for kind, rate in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--series", type=int, default=8, help="a kind")
    parser.add_argument("--steps", type=float, nargs="*", default=list(_SPANS), help="minutes")
    parser.add_argument("--days", type=float, help="looked at, instead of each step's own")
    options = parser.parse_args()
    found = {}
    for minutes in options.steps:
        days = options.days or _SPANS.get(minutes, 30)
        rates = found[f"{minutes:g} min"] = alarms(minutes, days, options.seed, options.series)
        print(f"{minutes:g} min, {days:g} days:")
        for kind, rate in rates.items():
            print(f"    {kind:28s} {rate}", flush=True)
        print(f"    {'mean':28s} {sum(rates.values()) / len(rates):.2f}", flush=True)
    line = {"bench": "operators", "seed": options.seed, "alarms": found}
    print(json.dumps({**line, **surroundings("numpy", "numba")}))


if __name__ == "__main__":
    main()
