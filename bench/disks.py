"""F1 of the default predictor on disks that will be full within a day, and within a week.

    python -m bench.disks [--seed N] [--disks N]

Disks of seven kinds, made to order: 28 days of history by the hour, then a week that is to be
told. The threshold lies a distance away that the mean pace takes between three hours and 40 days
to grow, whatever the week brings. Each horizon's alarms are told by the predictor's own selection
and passage, from probabilities of 0.1 to 0.6 on, and beside it by a Brownian motion alone, and by a
straight line through the last week. Intervals: the share of hours within the 95 % band. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.surroundings import surroundings
from services.predictor.behaviour import behaviour_of
from services.predictor.forecasters import Forecast
from services.predictor.passage import brownian, passage_of
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SEED = 141_421_356
"""The seed of the series, by which nothing was chosen."""
_HISTORY, _DAY, _WEEK = 672, 24, 168
_HOURS = _HISTORY + _WEEK
_ITEM = "df.bytes.used.percent"
_DISTANCES = 3
_LEVELS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.42, 0.5, 0.6)


def _working() -> Floats:
    hour = np.arange(_HOURS)
    return ((hour // 24 % 7 < 5) & (hour % 24 >= 9) & (hour % 24 < 17)).astype(np.float64)


def _bursts(rng: np.random.Generator, share: float, tail: float) -> Floats:
    return (rng.random(_HOURS) < share) * rng.lognormal(0, tail, size=_HOURS)


def _changed(rng: np.random.Generator) -> Floats:
    """Growth whose pace changes some days ago."""
    before, after = rng.uniform(0.2, 3, size=2)
    at = _HISTORY - int(rng.integers(24, 240))
    return np.where(np.arange(_HOURS) < at, before, after) * rng.gamma(2, 0.5, size=_HOURS)


def _rotated(rng: np.random.Generator) -> Floats:
    """Growth of which most is thrown away every night."""
    grown = rng.gamma(2, 0.5, size=_HOURS)
    grown[3::24] -= 0.8 * 24
    return grown


KINDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "steady": lambda rng: rng.gamma(2, 0.5, size=_HOURS),
    "noisy": lambda rng: 0.5 + rng.normal(0, 3, size=_HOURS),
    "bursts": lambda rng: _bursts(rng, 0.05, 1.0),
    "rare bursts": lambda rng: _bursts(rng, 0.01, 1.5),
    "office hours": lambda rng: _working() * rng.gamma(2, 0.5, size=_HOURS),
    "changed pace": _changed,
    "rotated": _rotated,
}
"""The hourly growth of a disk of each kind, in a unit of its own."""


def _disks(seed: int, count: int) -> tuple[Floats, Floats]:
    """Used shares (disks, hours), and for each disk the distances of its thresholds."""
    rows, distances = [], []
    for at in range(count):
        for place, make in enumerate(KINDS.values()):
            rng = np.random.default_rng([seed, place, at])
            grown = make(rng)
            pace = max(abs(float(grown[:_HISTORY].mean())), 1e-3)
            size = 60 / max(1.0, float(np.ptp(grown.cumsum())))
            rows.append(20 + size * grown.cumsum())
            distances.append(size * pace * np.exp(rng.uniform(np.log(3), np.log(960), _DISTANCES)))
    return np.array(rows), np.array(distances)


def _forecasts(histories: Floats, horizon: int) -> list[tuple[Choice, Forecast]]:
    selector = Selector(EngineSettings(horizon=horizon))
    rows = list(histories)
    chosen = selector.choose(
        rows, [behaviour_of(_ITEM, row, _DAY) for row in rows], [0] * len(rows)
    )
    choices = [one for one in chosen if isinstance(one, Choice)]
    made = [one for one in selector.forecast(choices, rows) if isinstance(one, Forecast)]
    return list(zip(choices, made, strict=True))


def f1(told: Bools, came: Bools) -> float:
    """Twice what was told and came, over all that was told and all that came."""
    return round(2 * float((told & came).sum()) / max(1, int(told.sum() + came.sum())), 3)


def _chances(
    histories: Floats, limits: Floats, made: list[tuple[Choice, Forecast]]
) -> tuple[Floats, Bools]:
    """The probability by each step (cases, steps), and whether the mean crosses (cases, steps)."""
    chances, crosses = [], []
    for row, all_, (choice, found) in zip(histories, limits, made, strict=True):
        for limit in all_:
            stable = choice.behaviour.value == "stable"
            passage = passage_of(row, found, float(limit), above=True, stable=stable, season=_DAY)
            chances.append(passage.reached)
            crosses.append(np.maximum.accumulate(found.mean >= limit))
    return np.array(chances), np.array(crosses)


def measured(seed: int, count: int) -> dict[str, object]:
    """The figures of one seed."""
    values, distances = _disks(seed, count)
    histories, future = values[:, :_HISTORY], values[:, _HISTORY:]
    limits = histories[:, -1:] + distances
    reached = np.maximum.accumulate(future, axis=1)[:, None, :] >= limits[:, :, None]
    came = reached.reshape(-1, _WEEK)
    found: dict[str, object] = {"disks": len(values), "cases": len(came)}
    for hours in (_DAY, _WEEK):
        found[f"full within {hours} h"] = round(float(came[:, hours - 1].mean()), 3)
    line = np.array([np.polyfit(np.arange(_WEEK), row[-_WEEK:], 1)[0] for row in histories])
    walks = [
        brownian(r, float(d), _WEEK) for r, ds in zip(histories, distances, strict=True) for d in ds
    ]
    for hours in (_DAY, _WEEK):
        truth = came[:, hours - 1]
        found[f"line, {hours} h"] = f1((line[:, None] * hours >= distances).ravel(), truth)
        found[f"brownian, {hours} h"] = {
            f"{p:g}": f1(np.array(walks)[:, hours - 1] >= p, truth) for p in _LEVELS
        }
    for horizon in (_DAY, _WEEK):
        begin = time.process_time()
        made = _forecasts(histories, horizon)
        seconds = time.process_time() - begin
        chances, crosses = _chances(histories, limits, made)
        inside = np.array(
            [
                (one.lower <= row[:horizon]) & (row[:horizon] <= one.upper)
                for (_, one), row in zip(made, future, strict=True)
            ]
        )
        name = f"horizon {horizon}"
        found[f"{name}, inside"] = round(float(inside.mean()), 3)
        found[f"{name}, inside by kind"] = {
            kind: round(float(inside[place :: len(KINDS)].mean()), 2)
            for place, kind in enumerate(KINDS)
        }
        found[f"{name}, disks/s"] = round(len(values) / seconds)
        for hours in (_DAY, _WEEK):
            if hours <= horizon:
                chance, mean = chances[:, hours - 1], crosses[:, hours - 1]
                truth = came[:, hours - 1]
                found[f"{name}, {hours} h, mean or 0.5"] = f1(mean | (chance >= 0.5), truth)
                found[f"{name}, {hours} h"] = {f"{p:g}": f1(chance >= p, truth) for p in _LEVELS}
                found[f"{name}, {hours} h, brier"] = round(float(((chance - truth) ** 2).mean()), 4)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--disks", type=int, default=40, help="of each kind")
    options = parser.parse_args()
    _forecasts(_disks(0, 1)[0][:, :_HISTORY], _DAY)
    found = measured(options.seed, options.disks)
    for name, figure in found.items():
        print(f"{name:32s} {figure}", flush=True)
    print(json.dumps({"bench": "disks", "seed": options.seed, **found, **surroundings("numpy")}))


if __name__ == "__main__":
    main()
