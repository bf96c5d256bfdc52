"""Which forecaster speaks for a series: the model if it has earned it, else a simple one.

On a rolling backtest of the series itself a model must have a smaller mean absolute error than
seasonal naive (where there is no full season yet: than the naive mean); if none has, the best of
the simple forecasters speaks. Backtests are bounded: few origins, and the order that ARIMA finds
at the first is kept for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from services.predictor.behaviour import Kind
from services.predictor.forecasters import CannotForecast, Forecast, Forecaster, make
from services.predictor.forecasters.base import Floats
from services.predictor.settings import EngineSettings
from shared.items import Behaviour

SIMPLE = ("seasonal_naive", "drift", "naive")


class Choice(BaseModel):
    """The forecaster of one series and what it rests on."""

    model_config = ConfigDict(frozen=True)

    forecaster: str
    fields: dict[str, Any]
    why: dict[str, str]
    step: int
    """When it was made: the series' open step."""
    behaviour: Behaviour = Behaviour.STABLE
    points: int = 0
    """History it was made on."""

    def made(self) -> Forecaster:
        """The chosen forecaster with its settings."""
        return make(self.forecaster, dict(self.fields))


class Selector:
    """Chooses for many series at once, so that networks are trained in one graph."""

    def __init__(self, settings: EngineSettings, season: int | None = None) -> None:
        self._settings = settings
        self._season = settings.season if season is None else season

    def choose(
        self, histories: Sequence[Floats], kinds: Sequence[Kind], steps: Sequence[int]
    ) -> list[Choice | CannotForecast]:
        """One choice a series; refused where not even a simple forecaster can speak."""
        models = [self._settings.models[kind.behaviour] for kind in kinds]
        wanted = {name for choice in models for name in choice}
        names = (*SIMPLE, *sorted(wanted - set(SIMPLE)))
        tried: list[dict[str, tuple[float, Forecaster]]] = [{} for _ in histories]
        for name in names:
            chosen = [at for at, m in enumerate(models) if name in SIMPLE or name in m]
            made = self._backtest(name, [histories[at] for at in chosen])
            for at, result in zip(chosen, made, strict=True):
                if result is not None:
                    tried[at][name] = result
        return [
            _decide(results, model, kind, step, len(history))
            for results, model, kind, step, history in zip(
                tried, models, kinds, steps, histories, strict=True
            )
        ]

    def _backtest(
        self, name: str, histories: Sequence[Floats]
    ) -> list[tuple[float, Forecaster] | None]:
        """Mean absolute error over all origins and the forecaster as settled, by history."""
        start = make(name, self._settings.forecasters.get(name))
        using: list[Forecaster] = [start] * len(histories)
        errors: list[list[float]] = [[] for _ in histories]
        for fold in range(self._settings.folds):
            cut = [self._cut(history, fold) for history in histories]
            trains = [h[:c] for h, c in zip(histories, cut, strict=True)]
            reach = [min(self._reach(h), len(h) - c) for h, c in zip(histories, cut, strict=True)]
            for at, found in enumerate(self._all(using, trains)):
                if isinstance(found, Forecast):
                    using[at] = using[at].settled(found)
                    actual = histories[at][cut[at] : cut[at] + reach[at]]
                    error = np.abs(found.mean[: reach[at]] - actual)
                    if np.isfinite(error).any():
                        errors[at].append(float(np.nanmean(error)))
        return [
            (float(np.mean(found)), forecaster) if found else None
            for found, forecaster in zip(errors, using, strict=True)
        ]

    def forecast(
        self, choices: Sequence[Choice], histories: Sequence[Floats]
    ) -> list[Forecast | CannotForecast]:
        """One answer a history by its chosen forecaster; equal ones work as one batch."""
        return self._all([choice.made() for choice in choices], histories)

    def _all(
        self, using: Sequence[Forecaster], trains: Sequence[Floats]
    ) -> list[Forecast | CannotForecast]:
        """Series with equal settings go through their forecaster together."""
        found: list[Forecast | CannotForecast] = [CannotForecast("")] * len(trains)
        groups: dict[str, list[int]] = {}
        for at, one in enumerate(using):
            groups.setdefault(one.model_dump_json(), []).append(at)
        for members in groups.values():
            made = using[members[0]].forecast(
                [trains[at] for at in members], self._settings.horizon, self._season
            )
            for at, one_made in zip(members, made, strict=True):
                found[at] = one_made
        return found

    def _reach(self, history: Floats) -> int:
        return max(1, min(self._settings.horizon, len(history) // 6))

    def _cut(self, history: Floats, fold: int) -> int:
        return max(0, len(history) - self._reach(history) * (fold + 1))


def _decide(
    results: dict[str, tuple[float, Forecaster]],
    models: Sequence[str],
    kind: Kind,
    step: int,
    points: int,
) -> Choice | CannotForecast:
    if not results:
        return CannotForecast("too little history for any forecaster")

    def error(name: str) -> float:
        return results[name][0]

    bar = "seasonal_naive" if "seasonal_naive" in results else "naive"
    able = [name for name in models if name in results]
    simple = [name for name in SIMPLE if name in results]
    model = min(able, key=error, default="")
    best = min(simple, key=error, default=model)
    earned = bool(model) and (bar not in results or error(model) < error(bar))
    name = model if earned else best
    why = {f"backtest_{n}": f"{found:.4g}" for n, (found, _) in results.items()}
    why["kind"] = f"{kind.behaviour.value}: {kind.reason}"
    if earned:
        why["choice"] = f"{model} beats {bar} on this series"
    elif model:
        why["choice"] = f"{model} does not beat {bar} on this series; {best} is the best simple one"
    else:
        why["choice"] = (
            f"too little history for {' and '.join(models)}; {best} is the best simple one"
        )
    fields = results[name][1].model_dump()
    return Choice(
        forecaster=name,
        fields=fields,
        why=why,
        step=step,
        behaviour=kind.behaviour,
        points=points,
    )
