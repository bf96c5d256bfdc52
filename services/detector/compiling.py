"""``python -m services.detector.compiling``: compile the kernels now, not at the first sample.

Kernels are compiled for the types that they are called with, so requests are read and series are
judged here as the service does it; ``shared.compiled`` keeps what was compiled.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from services.detector.combination import Combination
from services.detector.engine import Engine
from services.detector.gateway.compiling import compile_reader
from services.detector.gateway.remote_write import Receiver
from services.detector.settings import EngineSettings
from shared.samples import decode, encode, from_rows

_MODES: tuple[Literal["surprise", "skyline"], ...] = ("surprise", "skyline")
_HOSTS = 2000
"""A number of series that the first tables cannot hold, so that they are rebuilt."""
_STEP_MS = 60_000


def compile_kernels() -> None:
    """Read requests, and judge series by each set of detectors that has kernels."""
    compile_reader(Receiver("", lambda _: 0).known)
    for mode in _MODES:
        _judge(EngineSettings(combination=Combination(mode=mode)))


def _judge(settings: EngineSettings) -> None:
    engine, random = Engine(settings), np.random.default_rng(1)
    for step in range(3):
        values = random.normal(50, 1, _HOSTS)
        rows = [
            (f"host{n}", "cpu.idle", "", step * _STEP_MS, float(value))
            for n, value in enumerate(values)
        ]
        engine.process(decode(encode(from_rows(rows)), trusted=True))


if __name__ == "__main__":
    compile_kernels()
