"""The sets of series that forecasters are measured on: simulated, NAB by the hour, M4."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HOUR, DAY = 3600, 24
M4 = {"Hourly": (24, 48), "Weekly": (1, 13), "Daily": (1, 14)}
"""Season and horizon of the competition."""


@dataclass(frozen=True)
class Case:
    """A history and what came after it."""

    history: Floats
    future: Floats
    season: int
    scale: float | None = None
    """The scale by which MASE divides, where it is of more than ``history``."""


def simulated(count: int, points: int) -> Iterator[Case]:
    """ARIMA(p,d,q) with p, q up to 3, d 0 or 1; every third integrated one with a drift."""
    rng = np.random.default_rng(1)
    for number in range(count):
        p, q, d = (int(rng.integers(0, most)) for most in (4, 4, 2))
        phi, theta = _polynomial(rng, p), -_polynomial(rng, q)
        noise = rng.normal(size=points + DAY + 200)
        x = np.zeros_like(noise)
        for t in range(len(x)):
            x[t] = noise[t] + sum(c * x[t - 1 - i] for i, c in enumerate(phi) if t > i)
            x[t] += sum(c * noise[t - 1 - i] for i, c in enumerate(theta) if t > i)
        x = x[200:] + (0.1 if d and number % 3 == 0 else 0.0)
        x = 50 + (x.cumsum() if d else x)
        yield Case(x[:points], x[points:], 1)


def _polynomial(rng: np.random.Generator, order: int) -> Floats:
    """Stable coefficients from partial autocorrelations up to 0.8."""
    found = np.zeros(0)
    for _ in range(order):
        partial = rng.uniform(-0.8, 0.8)
        found = np.append(found - partial * found[::-1], partial)
    return found


def nab(folder: Path, points: int, group: str = "*") -> Iterator[Case]:
    """Hourly means; up to six origins a series, three days apart."""
    for path in sorted(folder.glob(f"data/{group}/*.csv")):
        series = _hourly(path)
        if series is None:
            continue
        for origin in range(6):
            end = len(series) - DAY - 72 * origin
            history = series[max(0, end - points) : max(0, end)]
            if len(history) < 150:
                break
            yield Case(history, series[end : end + DAY], DAY)


def _hourly(path: Path) -> Floats | None:
    with path.open() as file:
        rows = [(datetime.fromisoformat(r["timestamp"]), r["value"]) for r in csv.DictReader(file)]
    hours = np.array([int(time.timestamp() // _HOUR) for time, _ in rows])
    hours -= hours[0]
    values = np.array([float(value) for _, value in rows])
    counts = np.bincount(hours)
    known = np.flatnonzero(counts)
    if len(known) < 0.7 * len(counts):
        return None
    means = np.bincount(hours, values)[known] / counts[known]
    return np.interp(np.arange(len(counts)), known, means)


def m4_files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}-{part}.csv" for part in ("train", "test")]


def m4(folder: Path, name: str, most: int, points: int, *, held_back: bool) -> Iterator[Case]:
    """The competition's task for ``most`` series spread evenly, of ``points`` of history at most.

    ``held_back``: the last steps of the training part instead of the test part.
    """
    season, horizon = M4[name]
    before, after = (table(path) for path in m4_files(folder, name))
    keys = list(before)
    for key in keys[:: max(1, -(-len(keys) // most))]:
        past, future = before[key], after[key][:horizon]
        if held_back:
            past, future = past[:-horizon], past[-horizon:]
        scale = float(np.abs(past[season:] - past[:-season]).mean())
        yield Case(past[-points:], future, season, scale)


def table(path: Path) -> dict[str, Floats]:
    with path.open() as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: np.array([float(v) for v in row[1:] if v]) for row in rows}
