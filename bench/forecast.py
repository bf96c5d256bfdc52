"""Forecasters in one run: series a second and core, MASE and sMAPE, beside statsforecast's
AutoARIMA and theta, FLAIR and statsmodels' grid.

Every method gets the same histories and forecasts the same steps. Sets: NAB's series as hourly
means (``--nab DIR``, the folder with its ``data``), M4 (``--m4 DIR``, the folder with
``Hourly-train.csv`` ...), and always simulated ARIMA processes. Seconds are the process's own, so
that other work on the machine counts less; a figure is the mean over series, MASE by the errors of
seasonal naive on the history, ``relative`` the geometric mean of errors over those of seasonal
naive on the same steps, ``inside`` what the 95 % intervals held, CRPS that of a normal
distribution. Peers come with ``make bench-peers``; without them ours are measured alone. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.forecast_scores import score, summary
from bench.forecast_sets import DAY, M4, Case, Floats, m4, m4_files, nab, simulated
from bench.surroundings import surroundings
from services.predictor.behaviour import behaviour_of
from services.predictor.forecasters import CannotForecast, Forecast, make
from services.predictor.selection import Choice, Selector
from services.predictor.settings import DAY_S, EngineSettings

OURS = (
    "arima",
    "seasonal_naive",
    "drift",
    "holt",
    "ets",
    "theta",
    "ridge",
    "neural_24_49_1",
    "neural_global",
)


def main() -> int:
    """Measure and print; returns the exit code."""
    options = _options()
    warnings.simplefilter("ignore")
    results = {name: _measure(name, cases, options) for name, cases in _sets(options).items()}
    if options.networks:
        results["training"] = _training(options.networks)
    print(json.dumps(_summary(results, options)))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nab", type=Path, help="NAB's folder, which holds data/")
    parser.add_argument(
        "--nab-group", default="*", help="only this folder: realAWSCloudwatch are virtual machines"
    )
    parser.add_argument("--m4", type=Path, help="folder with M4's CSV files")
    parser.add_argument("--points", type=int, default=336, help="longest history")
    parser.add_argument("--simulated", type=int, default=100, help="ARIMA processes")
    parser.add_argument("--cases", type=int, default=226, help="of NAB, evenly spread")
    parser.add_argument(
        "--most", type=int, default=400, help="series of a set of M4, spread evenly"
    )
    parser.add_argument(
        "--m4-points", type=int, default=672, help="longest history of M4; the product keeps 672"
    )
    parser.add_argument(
        "--held-back",
        action="store_true",
        help="M4's last training steps instead of its test part: to choose by",
    )
    parser.add_argument(
        "--statsmodels", type=int, default=6, help="series its grid is run on; 0: none"
    )
    parser.add_argument("--networks", type=int, default=0, help="also train so many at once")
    parser.add_argument(
        "--seasonal", type=int, default=10, help="series AutoARIMA has a season on; 0: none"
    )
    parser.add_argument("--only", nargs="+", help="methods measured, by name; others are left out")
    return parser.parse_args()


def _sets(options: argparse.Namespace) -> dict[str, list[Case]]:
    """The series that are there, by the name of their set."""
    sets = {"simulated": list(simulated(options.simulated, options.points))}
    if options.nab:
        cases = list(nab(options.nab, options.points, options.nab_group))
        sets["nab_hourly"] = cases[:: max(1, round(len(cases) / options.cases))]
    if options.m4:
        for name in M4:
            if lacking := [path.name for path in m4_files(options.m4, name) if not path.is_file()]:
                print(f"m4_{name.lower()} left out: no {' and '.join(lacking)}", flush=True)
            else:
                sets[f"m4_{name.lower()}"] = list(
                    m4(
                        options.m4,
                        name,
                        options.most,
                        options.m4_points,
                        held_back=options.held_back,
                    )
                )
    return sets


def _training(count: int) -> dict[str, object]:
    """Seconds to train and ask ``count`` networks of their own, 168 points each, on all cores."""
    rng = np.random.default_rng(1)
    moment = 2 * np.pi * (np.arange(168) / DAY + rng.random((count, 1)))
    table = 50 + 10 * np.sin(moment) + rng.normal(scale=3, size=(count, 168))
    forecaster = make("neural_24_49_1")
    # The graph is traced and TensorFlow imported before.
    forecaster.forecast(list(table[:2]), DAY, DAY)
    begin, cpu = time.monotonic(), time.process_time()
    made = forecaster.forecast(list(table), DAY, DAY)
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    networks = sum(isinstance(one, Forecast) for one in made)
    return {"networks": networks, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


Method = Callable[[list[Case]], list[Floats | None]]
"""From cases to means and bounds (3, steps) of each, or None."""


def _measure(name: str, cases: list[Case], options: argparse.Namespace) -> dict[str, object]:
    found: dict[str, object] = {"series": len(cases)}
    runs: dict[str, tuple[Method, int]] = {
        **{own: (_own(own), len(cases)) for own in OURS},
        "predictors_choice": (_choice, len(cases)),
        **_peers(cases, options),
    }
    errors: dict[str, Floats] = {}
    for method, (forecast, count) in runs.items():
        if not count or (options.only and method not in options.only):
            continue
        # The first use compiles and imports, which is not to be measured.
        forecast(cases[:1])
        begin = time.process_time()
        made = forecast(cases[:count])
        seconds = time.process_time() - begin
        scores = [score(case, one) for case, one in zip(cases, made, strict=False)]
        mase = errors[method] = np.array([one.mase for one in scores])
        known = np.isfinite(mase)
        own = errors["arima"][:count] if "arima" in errors else mase
        figures = {
            "series": int(known.sum()),
            "series_per_s_core": round(count / seconds, 1),
            **summary(scores),
            "arima_mase_on_the_same": round(float(np.nanmean(own[known])), 4),
        }
        found[method] = figures
        print(f"{name:<12} {method:<24} {figures}", flush=True)
    return found


def _curves(one: Forecast | CannotForecast) -> Floats | None:
    return np.array([one.mean, one.lower, one.upper]) if isinstance(one, Forecast) else None


def _groups(cases: list[Case]) -> dict[tuple[int, int], list[int]]:
    groups: dict[tuple[int, int], list[int]] = {}
    for at, case in enumerate(cases):
        groups.setdefault((len(case.future), case.season), []).append(at)
    return groups


def _own(name: str) -> Method:
    forecaster = make(name)

    def forecast(cases: list[Case]) -> list[Floats | None]:
        made: list[Floats | None] = [None] * len(cases)
        for (horizon, season), members in _groups(cases).items():
            histories = [cases[at].history for at in members]
            for at, one in zip(
                members, forecaster.forecast(histories, horizon, season), strict=True
            ):
                made[at] = _curves(one)
        return made

    return forecast


def _choice(cases: list[Case]) -> list[Floats | None]:
    """The predictor's forecast: the choice by backtest, then its forecast."""
    made: list[Floats | None] = [None] * len(cases)
    for (horizon, season), members in _groups(cases).items():
        settings = EngineSettings(horizon=horizon, resolution_s=DAY_S / season)
        selector = Selector(settings, season=season)
        histories = [cases[at].history for at in members]
        kinds = [behaviour_of("", history, season) for history in histories]
        chosen = selector.choose(histories, kinds, [0] * len(members))
        good = [at for at, one in enumerate(chosen) if isinstance(one, Choice)]
        found = selector.forecast([chosen[at] for at in good], [histories[at] for at in good])
        for at, one in zip(good, found, strict=True):
            made[members[at]] = _curves(one)
    return made


def _peers(cases: list[Case], options: argparse.Namespace) -> dict[str, tuple[Method, int]]:
    found = {"statsmodels_grid": (_own("arima_statsmodels"), min(options.statsmodels, len(cases)))}
    found |= _statsforecast(cases, options) | _flair(cases)
    return found


def _flair(cases: list[Case]) -> dict[str, tuple[Method, int]]:
    """FLAIR with the frequency that has the cases' season; its intervals are those of its paths."""
    try:
        from flaircast import forecast
    except ImportError:
        print("flaircast is not installed; `pip install flaircast` brings it", flush=True)
        return {}

    def flair(cases: list[Case]) -> list[Floats | None]:
        made: list[Floats | None] = []
        for case in cases:
            name = "h" if case.season > 1 else "W"
            paths = forecast(case.history, len(case.future), name, seed=1)
            made.append(np.array([paths.mean(axis=0), *np.quantile(paths, (0.025, 0.975), axis=0)]))
        return made

    return {"flaircast": (flair, len(cases))}


def _statsforecast(cases: list[Case], options: argparse.Namespace) -> dict[str, tuple[Method, int]]:
    try:
        from statsforecast.models import AutoARIMA, DynamicOptimizedTheta
    except ImportError:
        print("statsforecast is not installed; `make bench-peers` brings it", flush=True)
        return {}

    def of(model: type[AutoARIMA | DynamicOptimizedTheta], *, seasonal: bool) -> Method:
        def forecast(cases: list[Case]) -> list[Floats | None]:
            made: list[Floats | None] = []
            for case in cases:
                season = case.season if seasonal else 1
                one = model(season_length=season).forecast(
                    case.history, h=len(case.future), level=[95]
                )
                made.append(np.array([one["mean"], one["lo-95"], one["hi-95"]]))
            return made

        return forecast

    found = {
        "statsforecast_autoarima": (of(AutoARIMA, seasonal=False), len(cases)),
        "statsforecast_theta": (of(DynamicOptimizedTheta, seasonal=True), len(cases)),
    }
    if cases[0].season > 1:
        seasonal = of(AutoARIMA, seasonal=True)
        found["statsforecast_seasonal"] = (seasonal, min(options.seasonal, len(cases)))
    return found


def _summary(
    results: dict[str, dict[str, object]], options: argparse.Namespace
) -> dict[str, object]:
    return {
        "bench": "forecast",
        "points": options.points,
        "results": results,
        **surroundings("numpy", "numba", "statsmodels", "statsforecast", "tensorflow-cpu"),
    }


if __name__ == "__main__":
    sys.exit(main())
