"""Which forecaster speaks for a series: the combination, unless another has earned it.

The favourite is the first of the models that compete, as a rule the combination. Another model or
a simple forecaster takes its place only where a rolling backtest of the series itself shows it: its
mean absolute error must be smaller by more than ``doubt`` standard errors of the difference from
origin to origin. The best of a handful on a few origins is mostly the luckiest; taking it loses to
the combination on average (the figures are in ``docs/benchmarks.md``). A model by itself must beat
seasonal naive besides (where there is no full season yet: the naive mean).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from services.predictor.backtest import backtest
from services.predictor.behaviour import Kind
from services.predictor.forecasters import CannotForecast, Forecast, Forecaster, make
from services.predictor.forecasters.base import Floats
from services.predictor.forecasters.combination import Combination
from services.predictor.settings import EngineSettings
from shared.items import Behaviour

SIMPLE = ("seasonal_naive", "drift", "naive")
_LEAST_ORIGINS = 3
"""Below which a difference may be luck whatever it is."""


class Choice(BaseModel):
    """The forecaster of one series and what it rests on."""

    model_config = ConfigDict(frozen=True)

    forecaster: str
    why: dict[str, str]
    step: int
    """When it was made: the series' open step."""
    behaviour: Behaviour = Behaviour.STABLE
    points: int = 0
    """History it was made on."""


class Selector:
    """Chooses for many series at once, so that they are forecast as tables."""

    def __init__(self, settings: EngineSettings, season: int | None = None) -> None:
        self._settings = settings
        self._season = settings.season if season is None else season
        names = {*SIMPLE, *(name for models in settings.models.values() for name in models)}
        self._forecasters = {name: make(name, settings.forecasters.get(name)) for name in names}

    def choose(
        self, histories: Sequence[Floats], kinds: Sequence[Kind], steps: Sequence[int]
    ) -> list[Choice | CannotForecast]:
        """One choice a series; refused where not even a simple forecaster can speak."""
        found: list[Choice | CannotForecast] = [
            CannotForecast("too little history for any forecaster")
        ] * len(histories)
        groups: dict[tuple[Behaviour, int], list[tuple[int, Floats]]] = {}
        for at, (history, kind) in enumerate(zip(histories, kinds, strict=True)):
            known = np.flatnonzero(np.isfinite(history))
            if len(known):
                values = history[known[0] :]
                groups.setdefault((kind.behaviour, len(values)), []).append((at, values))
        for (behaviour, _), members in groups.items():
            models = self._settings.models[behaviour]
            table = np.array([values for _, values in members])
            errors = backtest(
                {name: self._forecasters[name] for name in (*SIMPLE, *models)},
                table,
                self._settings.horizon,
                self._season,
                self._settings.folds,
            )
            missing = ~np.isfinite(table)
            for row, (at, _) in enumerate(members):
                share = float(missing[row].mean())
                own = {
                    name: one[row]
                    for name, one in errors.items()
                    if np.isfinite(one[row]).any()
                    and share <= self._forecasters[name].max_gap_share
                }
                if own:
                    name, why = self._decide(own, models)
                    why["kind"] = f"{kinds[at].behaviour.value}: {kinds[at].reason}"
                    found[at] = Choice(
                        forecaster=name,
                        why=why,
                        step=steps[at],
                        behaviour=behaviour,
                        points=len(histories[at]),
                    )
        return found

    def _decide(
        self, errors: Mapping[str, Floats], models: Sequence[str]
    ) -> tuple[str, dict[str, str]]:
        """Whose turn it is, and why; ``errors``: (origins,) of those that can speak."""
        mean = {name: float(np.nanmean(one)) for name, one in errors.items()}
        why = {f"backtest_{name}": f"{error:.4g}" for name, error in mean.items()}
        simple = [name for name in SIMPLE if name in mean]
        best = min(simple or mean, key=lambda name: mean[name])
        bar = "seasonal_naive" if "seasonal_naive" in mean else "naive"
        able = [name for name in models if name in mean and self._worth(name, bar, mean)]
        if not able:
            tried = [name for name in models if name in mean]
            why["choice"] = (
                f"{' and '.join(tried)} do not beat {bar} on this series"
                if tried
                else f"too little history for {' and '.join(models)}"
            ) + f"; {best} is the best simple one"
            return best, why
        favourite, chosen, gain = able[0], able[0], 0.0
        said = f"no other was clearly better in {len(errors[favourite])} backtests"
        for name in dict.fromkeys((*able[1:], *simple)):
            won, deviations, origins = _gain(errors[favourite], errors[name])
            if won > gain and deviations > self._settings.doubt and origins >= _LEAST_ORIGINS:
                chosen, gain = name, won
                share = won / mean[favourite] if mean[favourite] else 1.0
                said = (
                    f"{share:.0%} better than {favourite}, {min(deviations, 99):.1f} standard "
                    f"errors, in {origins} backtests"
                )
        why["choice"] = f"{chosen}: {said}"
        return chosen, why

    def _worth(self, name: str, bar: str, mean: Mapping[str, float]) -> bool:
        """A combination has the simple ones in it; any other model must beat them itself."""
        if bar not in mean or isinstance(self._forecasters[name], Combination):
            return True
        return mean[name] < mean[bar]

    def forecast(
        self, choices: Sequence[Choice], histories: Sequence[Floats]
    ) -> list[Forecast | CannotForecast]:
        """One answer a history by its chosen forecaster; equal ones work as one batch.

        Where that refuses, the first simple forecaster that does not.
        """
        found: list[Forecast | CannotForecast] = [CannotForecast("")] * len(histories)
        groups: dict[str, list[int]] = {}
        for at, choice in enumerate(choices):
            groups.setdefault(choice.forecaster, []).append(at)
        for name, members in groups.items():
            self._fill(found, name, members, histories)
        # A model may refuse what has come since it was chosen: then a simple one speaks.
        for name in SIMPLE:
            refused = [at for at, one in enumerate(found) if isinstance(one, CannotForecast)]
            if refused:
                self._fill(found, name, refused, histories)
        return found

    def _fill(
        self,
        found: list[Forecast | CannotForecast],
        name: str,
        members: Sequence[int],
        histories: Sequence[Floats],
    ) -> None:
        """The forecaster's answers, at the members' places."""
        made = self._forecaster(name).forecast(
            [histories[at] for at in members], self._settings.horizon, self._season
        )
        for at, one in zip(members, made, strict=True):
            found[at] = one

    def _forecaster(self, name: str) -> Forecaster:
        """Also one that was chosen before the settings were changed."""
        return self._forecasters.get(name) or make(name, self._settings.forecasters.get(name))


def _gain(favourite: Floats, other: Floats) -> tuple[float, float, int]:
    """How much less ``other`` errs, in how many standard errors, at how many common origins."""
    won = favourite - other
    won = won[np.isfinite(won)]
    if len(won) < _LEAST_ORIGINS:
        return 0.0, 0.0, len(won)
    gain, error = float(won.mean()), float(won.std(ddof=1)) / len(won) ** 0.5
    # Always the same difference, as between two that repeat one value, leaves no doubt.
    return gain, gain / error if error > 0 else float(np.copysign(np.inf, gain)), len(won)
