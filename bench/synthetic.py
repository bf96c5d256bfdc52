"""Series made to order: kinds whose truth is known, and faults put into them.

Each kind gives its values together with what only an oracle knows: the clean course and the
deviation of the noise about it. A series depends on its kind, the seed and its number alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP_MS, DAY = 300_000, 288
"""Five minutes; points a day."""
START_MS = 1_767_571_200_000
"""A Monday, 00:00 UTC."""


@dataclass(frozen=True)
class Made:
    """One series: its values, their clean course, the noise's deviation, and how it is made."""

    values: Floats
    clean: Floats
    sigma: float
    walk: bool = False
    """True if the noise adds up, so that only the changes are independent."""


Maker = Callable[[np.random.Generator, int], Made]


def _time_of_day(n: int) -> Floats:
    return np.arange(n) % DAY / DAY


def _working(n: int) -> Floats:
    """1 in the office hours of working days."""
    day, hour = np.arange(n) // DAY % 7, _time_of_day(n) * 24
    return ((day < 5) & (hour >= 9) & (hour < 17)).astype(np.float64)


def _about(clean: Floats, noise: Floats, sigma: float, *, walk: bool = False) -> Made:
    return Made(clean + noise, clean, sigma, walk)


def _white(rng: np.random.Generator, n: int) -> Made:
    return _about(np.full(n, 50.0), rng.normal(size=n), 1.0)


def _student(rng: np.random.Generator, n: int) -> Made:
    return _about(np.full(n, 50.0), rng.standard_t(3, size=n), 1.0)


def _walk(rng: np.random.Generator, n: int) -> Made:
    return _about(np.full(n, 100.0), rng.normal(size=n).cumsum(), 1.0, walk=True)


def _autoregressive(rng: np.random.Generator, n: int) -> Made:
    noise = rng.normal(size=n)
    for at in range(1, n):
        noise[at] += 0.9 * noise[at - 1]
    return _about(np.full(n, 50.0), noise, 1 / np.sqrt(1 - 0.81))


def _daily(rng: np.random.Generator, n: int) -> Made:
    clean = 50 + 10 * np.sin(2 * np.pi * (_time_of_day(n) + rng.random()))
    return _about(clean, rng.normal(size=n), 1.0)


def _daily_weekly(rng: np.random.Generator, n: int) -> Made:
    weekday = np.where(np.arange(n) // DAY % 7 < 5, 1.0, 0.3)
    clean = 50 + 10 * weekday * (1 - np.cos(2 * np.pi * _time_of_day(n)))
    return _about(clean, rng.normal(size=n), 1.0)


def _square(rng: np.random.Generator, n: int) -> Made:
    clean = 50 + 10 * ((_time_of_day(n) * 4 + rng.random()) % 1 < 0.5)
    return _about(clean, rng.normal(size=n), 1.0)


def _counts(rng: np.random.Generator, n: int) -> Made:
    clean = 12 + 8 * np.sin(2 * np.pi * _time_of_day(n))
    return Made(rng.poisson(clean).astype(np.float64), clean, float(np.sqrt(12)))


def _rare_spikes(rng: np.random.Generator, n: int) -> Made:
    bursts = (rng.random(n) < 1 / DAY) * rng.lognormal(2, 0.7, size=n)
    return _about(np.full(n, 5.0), bursts, 1.0)


def _disk(rng: np.random.Generator, n: int) -> Made:
    clean = 20 + rng.uniform(0.5, 3) * np.arange(n) / DAY
    return _about(clean, 0.02 * rng.normal(size=n), 0.02)


def _writes(rng: np.random.Generator, n: int) -> Made:
    bursts = (rng.random(n) < 0.05) * rng.lognormal(0, 1, size=n)
    return Made(20 + 0.05 * bursts.cumsum(), 20 + np.zeros(n), 0.05, walk=True)


def _office(rng: np.random.Generator, n: int) -> Made:
    clean = 20 + 0.02 * _working(n).cumsum()
    return _about(clean, 0.02 * rng.normal(size=n), 0.02)


KINDS: dict[str, Maker] = {
    "white noise": _white,
    "t3 noise": _student,
    "random walk": _walk,
    "autoregressive": _autoregressive,
    "daily": _daily,
    "daily and weekly": _daily_weekly,
    "square wave": _square,
    "counts": _counts,
    "constant, rare spikes": _rare_spikes,
    "linear growth": _disk,
    "random writes": _writes,
    "office-hours growth": _office,
}


def made(kind: str, seed: int, number: int, n: int) -> Made:
    """Series ``number`` of a kind."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind), number])
    return KINDS[kind](rng, n)


Fault = Callable[[Made, Floats, int, np.random.Generator], None]
"""Changes the values from a place on, as they are (the second argument), in place."""


def _spike(one: Made, values: Floats, at: int, _: np.random.Generator) -> None:
    values[at : at + 3] += 8 * one.sigma


def _dip(one: Made, values: Floats, at: int, _: np.random.Generator) -> None:
    values[at : at + 3] -= 8 * one.sigma


def _level(one: Made, values: Floats, at: int, rng: np.random.Generator) -> None:
    values[at:] += 3 * one.sigma * rng.choice([-1, 1])


def _trend(one: Made, values: Floats, at: int, rng: np.random.Generator) -> None:
    ramp = np.arange(1, len(values) - at + 1) / DAY
    values[at:] += 10 * one.sigma * rng.choice([-1, 1]) * ramp


def _noise(times: float) -> Fault:
    def fault(one: Made, values: Floats, at: int, _: np.random.Generator) -> None:
        noise = one.values - one.clean
        if one.walk:
            steps = np.diff(noise, prepend=0.0)
            steps[at:] *= times
            values[:] = one.clean + steps.cumsum()
        else:
            values[at:] = one.clean[at:] + times * noise[at:]

    return fault


def _stuck(_: Made, values: Floats, at: int, __: np.random.Generator) -> None:
    values[at:] = values[at - 1]


def _missing(one: Made, values: Floats, at: int, _: np.random.Generator) -> None:
    lowest = one.clean[at - DAY : at].min()
    values[at:] += lowest - one.clean[at:]


def _frequency(one: Made, values: Floats, at: int, _: np.random.Generator) -> None:
    ahead = np.arange(len(values) - at)
    values[at:] += one.clean[at - DAY + (4 * ahead) % DAY] - one.clean[at:]


FAULTS: dict[str, Fault] = {
    "spike": _spike,
    "dip": _dip,
    "level": _level,
    "trend": _trend,
    "more noise": _noise(3.0),
    "less noise": _noise(0.2),
    "stuck": _stuck,
    "pattern missing": _missing,
    "frequency": _frequency,
}


def faulty(kind: str, fault: str, seed: int, number: int, n: int, at: int) -> tuple[Floats, Made]:
    """The values of a series with a fault from ``at`` on, and the series without it."""
    one = made(kind, seed, number, n)
    values = one.values.copy()
    rng = np.random.default_rng([seed, list(FAULTS).index(fault), number, 1])
    FAULTS[fault](one, values, at, rng)
    if kind == "counts":
        values = np.maximum(np.rint(values), 0.0)
    return values, one
