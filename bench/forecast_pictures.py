"""Draw what forecasters say of a recording: ``python -m bench.forecast_pictures``.

The recording is a machine's own (``docs/algorithms/pictures/recorded.csv``, one point a second).
The last minute is kept back from the forecasters and drawn beside what they said, an SVG an item.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.predictor.behaviour import behaviour_of
from services.predictor.forecasters import CannotForecast, Forecast, make
from services.predictor.selection import Choice, Selector
from services.predictor.settings import DAY_S, EngineSettings

_AHEAD = 60
_SHOWN = 180
_DRAWN = {"combination": "#0072b2", "arima": "#d55e00", "drift": "#009e73", "naive": "#cc79a7"}
_NAMES = {
    "load.1min": "Load, the mean of a minute: it remembers",
    "cpu.idle": "CPU idle of a busy machine: noise without memory",
    "mem.cached.kib": "Page cache: growth with clean-ups",
}


def main() -> int:
    """Draw; returns the exit code."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "barograph"
    parser = argparse.ArgumentParser(description=__doc__)
    folder = Path("docs/algorithms/pictures")
    parser.add_argument("--recorded", type=Path, default=folder / "recorded.csv")
    parser.add_argument("--out", type=Path, default=folder)
    options = parser.parse_args()
    series: dict[str, list[float]] = defaultdict(list)
    with options.recorded.open() as file:
        for row in csv.DictReader(file):
            series[row["item"]].append(float(row["value"]))
    for item, title in _NAMES.items():
        values = np.array(series[item])
        _draw(values, title, options.out / f"forecast-{item.replace('.', '-')}.svg")
    return 0


def _found(name: str, history: NDArray[np.float64]) -> Forecast | CannotForecast:
    """The forecaster's forecast; the combination is that of the predictor, by backtests."""
    if name != "combination":
        return make(name).forecast([history], _AHEAD, DAY_S)[0]
    selector = Selector(EngineSettings(horizon=_AHEAD, resolution_s=1))
    (choice,) = selector.choose([history], [behaviour_of("", history, DAY_S)], [0])
    return selector.forecast([choice], [history])[0] if isinstance(choice, Choice) else choice


def _draw(values: NDArray[np.float64], title: str, path: Path) -> None:
    from matplotlib import pyplot as plt

    history, future = values[:-_AHEAD], values[-_AHEAD:]
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    past, ahead = np.arange(-_SHOWN, 0), np.arange(_AHEAD)
    axes.plot(past, history[-_SHOWN:], color="#444", linewidth=1, label="known")
    axes.plot(ahead, future, color="#999", linewidth=1, label="came")
    misses = {}
    for name, colour in _DRAWN.items():
        found = _found(name, history)
        if not isinstance(found, Forecast):
            continue
        misses[name] = float(np.abs(found.mean - future).mean())
        axes.plot(ahead, found.mean, color=colour, label=f"{name}, error {misses[name]:.3g}")
        if name == "combination":
            axes.fill_between(ahead, found.lower, found.upper, color=colour, alpha=0.12, lw=0)
    low, high = np.percentile(values[-_SHOWN - _AHEAD :], [0, 100])
    room = 0.3 * (high - low) + 1e-9
    axes.set_ylim(low - room, high + room)
    axes.axvline(0, color="#bbb", linewidth=0.8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("seconds")
    axes.legend(fontsize=7, ncols=3, frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(path, {name: round(miss, 4) for name, miss in misses.items()})


if __name__ == "__main__":
    sys.exit(main())
