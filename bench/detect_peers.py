"""The detectors ours are measured beside: a plain EWMA, river and PyOD, as their users run them.

A peer takes the curves (points, series) and how many points of them are past, learns the past,
and gives a function that judges and learns some points after it and returns how many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Work = Callable[[], int]
Peer = Callable[[Floats, int], Work]

_A = 1 / 21
_WINDOW, _REFIT_EVERY = 256, 16
_MODELS = 8


def ewma_loop(data: Floats, past: int) -> Work:
    """Mean and variance of each series with three sigma, a loop over Python's numbers."""
    series = data.shape[1]
    mean, square = data[0].tolist(), [1.0] * series
    points = data[past:].tolist()

    def work() -> int:
        fired = []
        for row in points:
            for at in range(series):
                away = row[at] - mean[at]
                if away * away > 9 * square[at]:
                    fired.append(at)
                mean[at] += _A * away
                square[at] += _A * (away * away - square[at])
        return len(points) * series

    return work


def ewma_numpy(data: Floats, past: int) -> Work:
    """The same, 10,000 series a step of numpy."""
    wide = np.tile(data[past:], (1, 10_000 // data.shape[1]))
    mean, square = wide[0].copy(), np.ones(wide.shape[1])

    def work() -> int:
        fired = 0
        for row in wide:
            away = row - mean
            fired += int((away * away > 9 * square).sum())
            mean[:] += _A * away
            square[:] += _A * (away * away - square)
        return int(wide.size)

    return work


def _river(make: Callable[[], Any]) -> Peer:
    def peer(data: Floats, past: int) -> Work:
        models = [make() for _ in range(_MODELS)]

        def run(points: Floats) -> int:
            for row in points:
                for at, model in enumerate(models):
                    x = {"x": float(row[at])}
                    model.score_one(x)
                    model.learn_one(x)
            return len(points) * len(models)

        run(data[:past])
        return lambda: run(data[past:])

    return peer


def _gaussian(data: Floats, past: int) -> Work:
    from river.anomaly import GaussianScorer

    models = [GaussianScorer() for _ in range(_MODELS)]

    def run(points: Floats) -> int:
        for row in points:
            for at, model in enumerate(models):
                value = float(row[at])
                model.score_one(None, value)
                model.learn_one(None, value)
        return len(points) * len(models)

    run(data[:past])
    return lambda: run(data[past:])


def _half_space_trees() -> object:
    from river.anomaly import HalfSpaceTrees
    from river.compose import Pipeline
    from river.preprocessing import MinMaxScaler

    return Pipeline(MinMaxScaler(), HalfSpaceTrees(seed=1))


def _pyod(module: str, name: str, **fields: object) -> Peer:
    def peer(data: Floats, past: int) -> Work:
        import importlib

        model_of = getattr(importlib.import_module(f"pyod.models.{module}"), name)

        def work() -> int:
            done = 0
            for at in range(_MODELS):
                for begin in range(past, past + 2 * _REFIT_EVERY, _REFIT_EVERY):
                    model = model_of(**fields).fit(data[begin - _WINDOW : begin, at : at + 1])
                    for point in data[begin : begin + _REFIT_EVERY, at]:
                        model.decision_function(np.array([[point]]))
                        done += 1
            return done

        return work

    return peer


PEERS: dict[str, Peer] = {
    "ewma_python_loop": ewma_loop,
    "ewma_numpy": ewma_numpy,
    "river_gaussian_scorer": _gaussian,
    "river_half_space_trees": _river(_half_space_trees),
    "pyod_ecod": _pyod("ecod", "ECOD"),
    "pyod_isolation_forest": _pyod("iforest", "IForest", n_estimators=25, max_samples=100),
}
