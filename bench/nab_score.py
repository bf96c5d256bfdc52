"""NAB's score, by its published definition (Lavin and Ahmad 2015), and nothing of its code.

A detector gives every row of every file a score from 0 to 1; an alarm is a row whose score
reaches the threshold. A labelled window is worth the best of its alarms, ``s((i - right - 1) /
width)`` of the first row's own, with the scaled sigmoid ``s(y) = 2 / (1 + exp(5*y)) - 1``, so that
early ones count more; without an alarm it costs ``fnWeight``. An alarm outside a window costs
``fpWeight``, less while the window before it is near: ``s(rows since / (width - 1))``, and the full
price three widths away or where no window came before. Rows of the probationary period (15 % of a
file, of at most 5,000 rows) do not count. One threshold for all files; 0 is a detector that says
nothing, 100 one that gives exactly one alarm, in the first row of every window.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """The worth of an alarm in a window, a missed window and an alarm outside."""

    name: str
    tp: float
    fn: float
    fp: float


@dataclass(frozen=True)
class File:
    """One series of the corpus, and what an alarm in each of its rows is worth."""

    name: str
    time_ms: NDArray[np.int64]
    values: Floats
    window: NDArray[np.int64]
    """Number of the window a row is in, -1: none."""
    windows: int
    worth: Floats
    """The row's share of a whole window's worth; outside of windows, -1 to 0."""
    probation: int

    @property
    def group(self) -> str:
        """The folder it is in."""
        return self.name.split("/", maxsplit=1)[0]


def scaled_sigmoid(y: Floats) -> Floats:
    """From 1 far before the right edge (y = -1: 0.987) through 0 to -1; exactly -1 beyond 3."""
    return np.where(y > 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(y, 3))) - 1)


def read_profiles(data: Path) -> list[Profile]:
    """The three application profiles of NAB's configuration."""
    loaded = json.loads((data / "config" / "profiles.json").read_text())
    return [
        Profile(name, cost["tpWeight"], cost["fnWeight"], cost["fpWeight"])
        for name, cost in ((name, all_["CostMatrix"]) for name, all_ in loaded.items())
    ]


def read_corpus(data: Path) -> list[File]:
    """All files with labels, in the order of their names."""
    labels = json.loads((data / "labels" / "combined_windows.json").read_text())
    return [_read(data, name, limits) for name, limits in sorted(labels.items())]


def _read(data: Path, name: str, limits: list[list[str]]) -> File:
    lines = (data / "data" / name).read_text().splitlines()[1:]
    stamps, numbers = zip(*(line.split(",")[:2] for line in lines), strict=True)
    times = np.array(stamps, dtype="datetime64[ms]")
    edges = np.array(limits, dtype="datetime64[ms]").reshape(-1, 2)
    n = len(times)
    window, worth = np.full(n, -1), np.full(n, -1.0)
    places = [(int(np.argmax(times == a)), int(np.argmax(times == b))) for a, b in edges]
    best = scaled_sigmoid(np.array(-1.0))
    for number, (left, right) in enumerate(places):
        width = right - left + 1
        inside = np.arange(left, right + 1)
        window[inside] = number
        worth[inside] = scaled_sigmoid(-(right - inside + 1) / width) / best
        after = np.arange(right + 1, places[number + 1][0] if number + 1 < len(places) else n)
        worth[after] = scaled_sigmoid((after - right) / (width - 1))
    return File(
        name,
        times.astype(np.int64),
        np.array(numbers, dtype=np.float64),
        window,
        len(places),
        worth,
        int(0.15 * min(n, 5000)),
    )


@dataclass(frozen=True)
class Curve:
    """The worth of all alarms, without weights, for every threshold from the highest on."""

    thresholds: Floats
    caught: Floats
    """Sum of what the windows that have an alarm are worth."""
    hit: NDArray[np.int64]
    """The number of windows that have an alarm."""
    outside: Floats
    """Sum of the prices of alarms outside, not positive."""
    alarms: NDArray[np.int64]
    """The number of alarms outside the windows."""
    windows: int

    def raw(self, profile: Profile) -> Floats:
        """The score at every threshold, not normalised."""
        missed = self.windows - self.hit
        return profile.tp * self.caught + profile.fp * self.outside - profile.fn * missed

    def normal(self, profile: Profile, raw: float) -> float:
        """0: says nothing; 100: perfect."""
        null, perfect = -profile.fn * self.windows, profile.tp * self.windows
        return 100 * (raw - null) / (perfect - null)

    def optimum(self, profile: Profile) -> tuple[float, float]:
        """The best normalised score, and its threshold."""
        raw = self.raw(profile)
        at = int(np.argmax(raw))
        return self.normal(profile, float(raw[at])), float(self.thresholds[at])

    def at(self, threshold: float) -> int:
        """Place of the lowest threshold not below ``threshold``."""
        return int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1


def curve(files: list[File], scores: list[Floats]) -> Curve:
    """The score of every threshold over ``files``, for one score a row each."""
    parts: list[tuple[Floats, Floats, Floats, Floats, Floats]] = []
    for file, score in zip(files, scores, strict=True):
        counted = np.arange(len(score)) >= file.probation
        free = counted & (file.window < 0)
        zero = np.zeros(int(free.sum()))
        parts.append((score[free], zero, zero, file.worth[free], zero + 1))
        for number in range(file.windows):
            inside = np.flatnonzero(counted & (file.window == number))
            order = inside[np.argsort(-score[inside], kind="stable")]
            best = np.maximum.accumulate(file.worth[order])
            gain = np.diff(best, prepend=0.0)
            first = np.zeros(len(order))
            first[:1] = 1
            parts.append((score[order], gain, first, 0 * gain, 0 * gain))
    all_ = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(-all_[0], kind="stable")
    sorted_ = all_[0][order]
    sums = [np.cumsum(column[order]) for column in all_[1:]]
    last = np.append(np.diff(sorted_) != 0, True)
    nothing = [np.concatenate([[0.0], column[last]]) for column in sums]
    caught, hit, outside, alarms = nothing
    return Curve(
        np.concatenate([[np.inf], sorted_[last]]),
        caught,
        hit.astype(np.int64),
        outside,
        alarms.astype(np.int64),
        sum(file.windows for file in files),
    )
