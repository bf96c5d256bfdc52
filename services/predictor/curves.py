"""The predictor's view of one series for a page: its history and its forecast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.predictor.episodes import Subject
from services.predictor.forecasters import Forecast
from services.predictor.settings import EngineSettings
from shared.contracts import Curve
from shared.contracts.alerts import BandPoint
from shared.contracts.alerts import curve_of as points_of

_TOO_SHORT = "Its history is too short, or too full of gaps, to be forecast."


@dataclass(frozen=True)
class Foreseen:
    """A forecast for a page."""

    forecast: Forecast
    probability: float
    why: dict[str, str]


def curve_of(subject: Subject, foreseen: Foreseen | None, settings: EngineSettings) -> Curve:
    """Means of each step, and the forecast in the middle of each step ahead."""
    resolution, history = settings.resolution_ms, subject.history
    known = np.flatnonzero(np.isfinite(history))
    times = (subject.open_step - len(history) + known) * resolution + resolution // 2
    ahead: tuple[BandPoint, ...] = ()
    why: dict[str, str] = {}
    if foreseen is not None:
        made = foreseen.forecast
        why = foreseen.why | made.why
        rows = zip(made.mean.tolist(), made.lower.tolist(), made.upper.tolist(), strict=True)
        ahead = tuple(
            BandPoint(
                time_ms=round((subject.open_step + k + 0.5) * resolution),
                mean=m,
                lower=low,
                upper=up,
            )
            for k, (m, low, up) in enumerate(rows)
        )
    return Curve(
        points=points_of(times.tolist(), history[known].tolist()),
        step_ms=resolution,
        forecast=ahead,
        threshold=subject.threshold,
        above=subject.above,
        why=why,
        probability=foreseen.probability if foreseen else None,
        note="" if foreseen else _TOO_SHORT,
    )
