"""Selects and weights the forecasters of a series by their backtests.

The models of the settings and the simple forecasters forecast what came after several origins of
the series itself; ``combination`` makes weights of their errors. A forecaster that erred much is
left out, so one that is far better than all others speaks alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from services.predictor.backtest import Backtest, backtest, carried
from services.predictor.behaviour import Kind
from services.predictor.combination import bounded, combined, weights_of
from services.predictor.forecasters import CannotForecast, Forecast, Forecaster, make
from services.predictor.forecasters.base import Floats, scaled, unit_of
from services.predictor.intervals import widened, widening_of, with_lasting_steps
from services.predictor.regime import as_now, at_present_pace, without_accidents
from services.predictor.settings import EngineSettings
from shared.items import Behaviour

SIMPLE = ("seasonal_naive", "drift", "naive")
_TOGETHER = 256
"""Series backtested as one table, so that all their forecasts fit into memory."""


class Choice(BaseModel):
    """The forecasters chosen for one series, and the basis of the choice."""

    model_config = ConfigDict(frozen=True)

    weights: dict[str, float]
    """The weight of each forecaster, the largest first; they sum to 1."""
    why: dict[str, str]
    widening: tuple[float, float] = (1.0, 1.0)
    """Factors of the lower and the upper half width, by what the backtests' intervals held."""
    reach: int | None = None
    """Steps that were backtested; beyond them intervals are wider. None: all."""
    step: int
    """The time at which it was made: the series' open step."""
    behaviour: Behaviour = Behaviour.STABLE
    points: int = 0
    """History it was made on."""

    @property
    def forecaster(self) -> str:
        """Return who speaks, in a word."""
        return "combination" if len(self.weights) > 1 else next(iter(self.weights))


class Selector:
    """Chooses forecasters for many series at once, so that they are forecast as tables."""

    def __init__(self, settings: EngineSettings, season: int | None = None) -> None:
        self._settings = settings
        self._season = settings.season if season is None else season
        names = {*SIMPLE, *(name for models in settings.models.values() for name in models)}
        self._forecasters = {name: make(name, settings.forecasters.get(name)) for name in names}

    def choose(
        self,
        histories: Sequence[Floats],
        kinds: Sequence[Kind],
        steps: Sequence[int],
        horizons: Sequence[int] | None = None,
    ) -> list[Choice | CannotForecast]:
        """One choice a series; refused where not even a simple forecaster can speak.

        ``horizons``: the steps that each series is forecast; without it as the settings say.
        """
        ahead = horizons or [self._settings.horizon] * len(histories)
        found: list[Choice | CannotForecast] = [
            CannotForecast("too little history for any forecaster")
        ] * len(histories)
        for members, raw in _tables(histories, kinds, ahead):
            behaviour = kinds[members[0]].behaviour
            names = list(dict.fromkeys((*self._settings.models[behaviour], *SIMPLE)))
            units = unit_of(raw)
            table = _with_gaps_of(raw, without_accidents(carried(raw / units[:, None])))
            tested = self._tested(names, table, ahead[members[0]], behaviour)
            size = np.nanmax(np.abs(table), axis=1)
            errors = tested.errors
            if behaviour is Behaviour.STABLE:
                self._know_the_pace(errors, names, table, ahead[members[0]])
            weights = weights_of(errors, size, self._settings.preference)
            widening = _widening(tested, weights)
            for row, at in enumerate(members):
                if weights[:, row].any():
                    found[at] = _choice(
                        names,
                        errors[:, row] * units[row],
                        weights[:, row],
                        widening[row],
                        kinds[at],
                        reach=tested.actual.shape[2],
                        step=steps[at],
                        points=len(histories[at]),
                    )
        return found

    def _know_the_pace(
        self, errors: Floats, names: Sequence[str], table: Floats, horizon: int
    ) -> None:
        """Replace the errors of series whose pace changed by those at their present pace.

        No origin knew of the change, so all forecasters were alike in missing it.
        """
        known = carried(table)
        even = at_present_pace(known, self._season)
        changed = np.flatnonzero((even != known).any(axis=1))
        if len(changed):
            paced = _with_gaps_of(table[changed], even[changed])
            errors[:, changed] = self._tested(names, paced, horizon, Behaviour.STABLE).errors

    def _tested(
        self, names: Sequence[str], table: Floats, horizon: int, behaviour: Behaviour
    ) -> Backtest:
        """The backtest of a table; a forecaster is silent where too much of a series is missing."""
        able = [self._forecasters[name] for name in names]
        settings = self._settings
        stable = behaviour is Behaviour.STABLE
        found = backtest(able, table, horizon, self._season, settings.folds, paced=stable)
        missing = (~np.isfinite(table)).mean(axis=1)
        for number, one in enumerate(able):
            found.curves[number, missing > one.max_gap_share] = np.nan
        return found

    def forecast(
        self,
        choices: Sequence[Choice],
        histories: Sequence[Floats],
        horizons: Sequence[int] | None = None,
    ) -> list[Forecast | CannotForecast]:
        """One answer a history by its chosen forecasters; equal ones work as one batch.

        Where they all refuse, the first simple forecaster that does not.
        """
        made: list[dict[str, Forecast]] = [{} for _ in histories]
        measured = histories
        histories = [
            as_now(one, self._season, paced=choice.behaviour is Behaviour.STABLE)
            for one, choice in zip(histories, choices, strict=True)
        ]
        ahead = horizons or [self._settings.horizon] * len(choices)
        groups: dict[tuple[str, int], list[int]] = {}
        for at, choice in enumerate(choices):
            for name in choice.weights:
                groups.setdefault((name, ahead[at]), []).append(at)
        for (name, horizon), members in groups.items():
            self._fill(made, name, members, histories, horizon)
        # A model may refuse what has come since it was chosen: then a simple one speaks.
        for name in SIMPLE:
            for horizon in set(ahead):
                silent = [at for at, one in enumerate(made) if not one and ahead[at] == horizon]
                if silent:
                    self._fill(made, name, silent, histories, horizon)
        return [
            self._joined(one, choice, history, before)
            for one, choice, history, before in zip(made, choices, histories, measured, strict=True)
        ]

    def _fill(
        self,
        made: list[dict[str, Forecast]],
        name: str,
        members: Sequence[int],
        histories: Sequence[Floats],
        horizon: int,
    ) -> None:
        """The forecaster's answers, at the members' places."""
        answers = self._forecaster(name).forecast(
            [histories[at] for at in members], horizon, self._season
        )
        for at, one in zip(members, answers, strict=True):
            if isinstance(one, Forecast):
                made[at][name] = one

    def _joined(
        self, made: Mapping[str, Forecast], choice: Choice, history: Floats, measured: Floats
    ) -> Forecast | CannotForecast:
        """One forecast of those made for a series, with the heaviest one's reasons."""
        if not made:
            return CannotForecast("none of its forecasters can speak any more")
        names = sorted(made, key=lambda name: -choice.weights.get(name, 0.0))
        known = history[np.isfinite(history)]
        unit = unit_of(known)
        curves = np.array([[(made[n].mean, made[n].lower, made[n].upper)] for n in names]) / unit
        weights = np.array([[choice.weights.get(name, 1.0)] for name in names])
        reach = choice.reach or curves.shape[-1]
        (spread,) = widened(combined(curves, weights), np.array([choice.widening]), reach)
        (steady,) = bounded(spread[None], known[None] / unit)
        before = measured[np.isfinite(measured)] / unit
        mean, lower, upper = scaled(with_lasting_steps(steady, before, self._season), unit)
        why = {f"{names[0]}_{key}": text for key, text in made[names[0]].why.items()}
        return Forecast(mean, lower, upper, why, steady=scaled(steady[1:], unit))

    def _forecaster(self, name: str) -> Forecaster:
        """Also one that was chosen before the settings were changed."""
        return self._forecasters.get(name) or make(name, self._settings.forecasters.get(name))


def _tables(
    histories: Sequence[Floats], kinds: Sequence[Kind], ahead: Sequence[int]
) -> Iterator[tuple[list[int], Floats]]:
    """Series of one behaviour, length and horizon: which, and their values from the first on."""
    groups: dict[tuple[Behaviour, int, int], list[tuple[int, Floats]]] = {}
    for at, (history, kind, steps) in enumerate(zip(histories, kinds, ahead, strict=True)):
        known = np.flatnonzero(np.isfinite(history))
        if len(known):
            values = history[known[0] :]
            groups.setdefault((kind.behaviour, len(values), steps), []).append((at, values))
    for group in groups.values():
        for begin in range(0, len(group), _TOGETHER):
            part = group[begin : begin + _TOGETHER]
            yield [at for at, _ in part], np.array([values for _, values in part])


def _with_gaps_of(table: Floats, values: Floats) -> Floats:
    """``values`` where ``table`` was measured."""
    return np.where(np.isfinite(table), values, np.nan)


def _widening(tested: Backtest, weights: Floats) -> Floats:
    """The coverage of each series' interval, by the combination of the backtest's forecasts."""
    origins = range(tested.actual.shape[1])
    curves = np.stack([combined(tested.curves[:, :, at], weights) for at in origins], axis=1)
    return widening_of(curves, tested.actual)


def _choice(
    names: Sequence[str],
    errors: Floats,
    weights: Floats,
    widening: Floats,
    kind: Kind,
    *,
    reach: int,
    step: int,
    points: int,
) -> Choice:
    """The choice for one series, with the reasons that a person is told."""
    down, up = widening.tolist()
    why = _why(names, errors, weights)
    why["interval_widened"] = f"{down:.2f} times downwards, {up:.2f} upwards"
    why["kind"] = f"{kind.behaviour.value}: {kind.reason}"
    heaviest = np.argsort(-weights, kind="stable")
    return Choice(
        weights={names[n]: float(weights[n]) for n in heaviest if weights[n]},
        why=why,
        widening=(down, up),
        reach=reach,
        step=step,
        behaviour=kind.behaviour,
        points=points,
    )


def _why(names: Sequence[str], errors: Floats, weights: Floats) -> dict[str, str]:
    """Each forecaster's mean error, and the weights; ``errors``: (forecasters, origins)."""
    why, known = {}, np.isfinite(errors)
    counts, totals = known.sum(axis=1), np.where(known, errors, 0.0).sum(axis=1)
    for name, count, total in zip(names, counts, totals, strict=True):
        if count:
            why[f"backtest_{name}"] = f"{total / count:.4g}"
    order = np.argsort(-weights, kind="stable")
    said = ", ".join(f"{names[n]} {weights[n]:.0%}" for n in order if weights[n])
    origins = int(known.any(axis=0).sum())
    why["choice"] = f"{said}; by their errors in {origins} backtests"
    return why
