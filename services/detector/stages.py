"""The stage of each series: how much of its own history is used (``verdicts.STAGES``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors.base import Bools
from services.detector.verdicts import STAGES
from shared.columns import Column, Columns, Rows


class Stages:
    """Tracks the stage of each series."""

    def __init__(self) -> None:
        self.state = Columns([Column("stage", np.int8)])

    def step(self, rows: Rows, judged: Bools, coarse: Bools) -> NDArray[np.int8]:
        """The stage of these series, whose newest point is ``judged``, by little history or not."""
        stages = np.where(coarse, 1, 2).astype(np.int8)
        # A point that cannot be judged, after a gap or without a value, makes nobody young again.
        found: NDArray[np.int8] = np.where(judged, stages, self.state["stage"][rows])
        self.state["stage"][rows] = found
        return found

    def counts(self) -> dict[str, int]:
        """Return how many series are judged by how much history of their own."""
        counts = np.bincount(self.state["stage"][: self.state.size], minlength=len(STAGES))
        return dict(zip(STAGES, counts.tolist(), strict=True))
