"""``python -m services.predictor.compiling``: compile the kernels now, not at the first forecast.

Without it, a new machine's predictor compiles for most of a minute of processor time, and answers
nothing meanwhile. Kernels are compiled for the types that they are called with, so series of each
kind are forecast here as the service does it; ``shared.compiled`` keeps what was compiled.
"""

from __future__ import annotations

import numpy as np

from services.predictor.engine import Engine
from services.predictor.forecasters.base import Floats
from services.predictor.settings import EngineSettings
from shared.contracts.alerts import SeriesRef
from shared.items import Behaviour
from shared.samples import decode, encode, from_rows

_MODELS = ("arima", "theta", "ridge", "ets", "holt")
"""The models with kernels; the default is three of them."""
_DAY, _DAYS = 24, 8
_HOST = "compiling"
_HOSTS = 2000
"""A number of series that the first tables cannot hold, so that they are rebuilt."""


def compile_kernels() -> None:
    """Forecast a few series, and show them as a page would."""
    settings = EngineSettings(models=dict.fromkeys(Behaviour, _MODELS))
    engine, series = Engine(settings), _series()
    far = [(f"{_HOST}-{n}", "df.bytes.used.percent", "", 0, 1.0) for n in range(_HOSTS)]
    engine.process(decode(encode(from_rows(far)), trusted=True))
    for step in range(_DAY * _DAYS):
        rows = [
            (_HOST, item, "", step * settings.resolution_ms, float(values[step]))
            for item, values in series.items()
            if np.isfinite(values[step])
        ]
        engine.process(decode(encode(from_rows(rows)), trusted=True))
    for item in series:
        engine.curve(SeriesRef(host=_HOST, item=item))


def _series() -> dict[str, Floats]:
    """Series by item: a disk that fills and is cleaned up, a memory with a daily swing and gaps."""
    steps = np.arange(_DAY * _DAYS, dtype=np.float64)
    noise = np.random.default_rng(1).normal(size=len(steps))
    gaps = np.where(steps % 40, 0.0, np.nan)
    return {
        "df.bytes.used.percent": 60 + steps % 50 / 2 + noise / 10,
        "mem.memused.percent": 75 + 10 * np.sin(2 * np.pi * steps / _DAY) + noise + gaps,
    }


if __name__ == "__main__":
    compile_kernels()
