"""Other projects' detectors as their users run them, for ``bench.strangers``.

Each sees one series at a time, point by point. None has a budget but ``wald``, whose p-values
promise one; the others tell three sigma of their own score's past. A detector that is fitted (PyOD)
is fitted anew to the last 256 points every 16 points.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from bench.scorers import WARM, Scored, Scorer, Series, of_points, opened_at

_WINDOW, _REFIT_EVERY = 256, 16
_WEEK_MS = 604_800_000


def _river(name: str) -> Callable[[], Callable[[float], float]]:
    def new() -> Callable[[float], float]:
        from river import anomaly, preprocessing

        if name == "GaussianScorer":
            scorer = anomaly.GaussianScorer(grace_period=WARM)

            def gaussian(value: float) -> float:
                score = float(scorer.score_one(None, value))
                scorer.learn_one(None, value)
                return score

            return gaussian
        model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)

        def trees(value: float) -> float:
            score = float(model.score_one({"x": value}))
            model.learn_one({"x": value})
            return score

        return trees

    return new


def _forest() -> Callable[[float], float]:
    # It asks pkg_resources for its own version, which newer setuptools do not have.
    stand_in: Any = ModuleType("pkg_resources")
    stand_in.get_distribution = importlib.metadata.distribution
    sys.modules.setdefault("pkg_resources", stand_in)
    import rrcf

    trees = [rrcf.RCTree(random_state=seed) for seed in range(20)]
    seen, shingle = 0, [0.0] * 4

    def score(value: float) -> float:
        nonlocal seen
        shingle[:] = [*shingle[1:], value]
        total = 0.0
        for tree in trees:
            if len(tree.leaves) > 256:
                tree.forget_point(seen - 256)
            tree.insert_point(tuple(shingle), index=seen)
            total += tree.codisp(seen)
        seen += 1
        return total / len(trees)

    return score


def _refitted(module: str, name: str, **fields: object) -> Callable[[], Callable[[float], float]]:
    def new() -> Callable[[float], float]:
        model_of = getattr(importlib.import_module(f"pyod.models.{module}"), name)
        seen: list[float] = []
        model = None

        def score(value: float) -> float:
            nonlocal model
            if len(seen) == WARM or (len(seen) > WARM and len(seen) % _REFIT_EVERY == 0):
                model = model_of(**fields).fit(np.array(seen[-_WINDOW:])[:, None])
            seen.append(value)
            return 0.0 if model is None else float(model.decision_function(np.array([[value]]))[0])

        return score

    return new


def _pysad(name: str, **fields: object) -> Callable[[], Callable[[float], float]]:
    def new() -> Callable[[float], float]:
        import pysad.models

        model = getattr(pysad.models, name)(**fields)
        return lambda value: float(np.ravel(model.fit_score_partial(np.array([value])))[0])

    return new


def wald(series: Sequence[Series], budget: float) -> list[Scored]:
    """Alarm where the p-value of timemachines' ``wald`` is below what the budget allows."""
    from timemachines import wald as machine

    found = []
    for one in series:
        step_ms = float(np.median(np.diff(one.time_ms)))
        allowed = budget * step_ms / _WEEK_MS
        head, state = machine(k=1), None
        scores, fires = np.zeros(len(one.values)), np.zeros(len(one.values), dtype=np.bool_)
        for at, value in enumerate(one.values):
            if np.isnan(value):
                continue
            _, state = head(float(value), state)
            told = state["pvalue"]
            if told is not None:
                scores[at], fires[at] = -np.log(max(told, 1e-300)), told < allowed
        found.append(Scored(scores, opened_at(fires)))
    return found


PEERS: dict[str, Scorer] = {
    "river GaussianScorer": of_points(_river("GaussianScorer")),
    "river HalfSpaceTrees": of_points(_river("HalfSpaceTrees")),
    "rrcf": of_points(_forest),
    "PyOD ECOD": of_points(_refitted("ecod", "ECOD")),
    "PyOD IForest": of_points(_refitted("iforest", "IForest", n_estimators=25, random_state=1)),
    "pysad LODA": of_points(_pysad("LODA", random_state=1)),
    "pysad KNNCAD": of_points(_pysad("KNNCAD", probationary_period=50)),
    "pysad xStream": of_points(_pysad("xStream", random_state=1)),
    "timemachines wald": wald,
}
