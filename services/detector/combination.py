"""Combines votes into a verdict: one detector's score, the series' kind, or a majority.

``surprise``: the detector of that name alone, which has its own views and a false-alarm budget.
``branch``: a series with a daily rhythm is judged by chain and amplitude, and one of the two is
enough (each sees what the other misses); any other by SS and LS, which must agree (SS alone fires
on every burst of a series that mostly rests). ``vote``: of chain, amplitude, SS,
isolation forest and EWMA (LS) at least ``majority`` must agree. ``skyline``: of Skyline's nine at
least ``consensus`` must. ``panel``: of those named in ``panel``, ``needed`` must. The verdict
carries every vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.detector.detectors.base import Bools, Votes

UNKNOWN, APERIODIC, PERIODIC = -1, 0, 1
"""A series' kind, as kept in the state."""

_ALONE = ("surprise",)
_PERIODIC = ("chain", "amplitude")
_APERIODIC = ("short_term", "long_term")
_VOTERS = ("chain", "amplitude", "short_term", "isolation_forest", "long_term")
SKYLINE = (
    "first_hour_average",
    "mean_subtraction_cumulation",
    "stddev_from_average",
    "stddev_from_moving_average",
    "least_squares",
    "grubbs",
    "histogram_bins",
    "median_absolute_deviation",
    "ks_test",
)


@dataclass(frozen=True)
class Verdict:
    """The conclusion for each of n points."""

    judged: Bools
    anomalous: Bools
    direction: NDArray[np.int8]


class Combination(BaseModel):
    """The combination of votes into a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["surprise", "branch", "vote", "skyline", "panel"] = Field(
        "surprise",
        description="The way to decide: surprise, the surprise score; branch, different detectors "
        "for periodic and aperiodic series; vote, a majority of five detectors; skyline, a "
        "majority of Skyline's nine; panel, the detectors that you name.",
    )
    periodic_needed: int = Field(
        1,
        ge=1,
        le=2,
        description="In mode branch, how many of chain and amplitude must call a point of a "
        "periodic series anomalous.",
    )
    aperiodic_needed: int = Field(
        2,
        ge=1,
        le=2,
        description="In mode branch, how many of short_term and long_term must call a point of an "
        "aperiodic series anomalous.",
    )
    majority: int = Field(
        3,
        ge=1,
        le=5,
        description="In mode vote, how many of the five detectors must call a point anomalous.",
    )

    consensus: int = Field(
        6,
        ge=1,
        le=9,
        description="In mode skyline, how many of the nine detectors must call a point anomalous.",
    )
    panel: tuple[str, ...] = Field(
        (), description="In mode panel, the names of the detectors that vote."
    )
    needed: int = Field(
        1, ge=1, description="In mode panel, how many of them must call a point anomalous."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.mode != "panel":
            if self.panel:
                raise ValueError("panel is for mode panel")
            return self
        if not self.panel:
            raise ValueError("mode panel needs a panel: the names of some detectors")
        if len(set(self.panel)) < len(self.panel):
            raise ValueError("a detector is listed twice in panel")
        if self.needed > len(self.panel):
            msg = f"needed {self.needed} of {len(self.panel)} detectors can never be"
            raise ValueError(msg)
        return self

    def voters(self) -> tuple[str, ...]:
        """Names of the detectors that must be asked."""
        panels = {"surprise": _ALONE, "vote": _VOTERS, "skyline": SKYLINE, "panel": self.panel}
        return panels.get(self.mode, (*_PERIODIC, *_APERIODIC))

    def deciding(self, kind: int) -> tuple[str, ...]:
        """The detectors whose votes count for a series of this kind."""
        if self.mode != "branch":
            return self.voters()
        return _PERIODIC if kind == PERIODIC else _APERIODIC

    def decide(self, votes: Mapping[str, Votes], kind: NDArray[np.int8]) -> Verdict:
        """The verdict on each point; ``kind`` as above. A voter that cannot judge says no.

        A series whose kind is not known yet is treated as one without a rhythm.
        """
        needed = {
            "surprise": 1,
            "vote": self.majority,
            "skyline": self.consensus,
            "panel": self.needed,
        }
        if self.mode in needed:
            return self._conclude([votes[n] for n in self.voters()], None, needed[self.mode])
        periodic = kind == PERIODIC
        rhythm = self._conclude([votes[name] for name in _PERIODIC], periodic, self.periodic_needed)
        other = self._conclude(
            [votes[name] for name in _APERIODIC], ~periodic, self.aperiodic_needed
        )
        return Verdict(
            rhythm.judged | other.judged,
            rhythm.anomalous | other.anomalous,
            rhythm.direction + other.direction,
        )

    def coarse(self, votes: Mapping[str, Votes], kind: NDArray[np.int8]) -> Bools:
        """Marks judgements that rest on less history than they are made for.

        Where a detector says so of itself; else while it is not known whether there is a rhythm.
        """
        young = [vote.coarse for name in self.voters() if (vote := votes[name]).coarse is not None]
        found: Bools = np.logical_or.reduce(young) if young else kind == UNKNOWN
        return found

    @staticmethod
    def _conclude(votes: list[Votes], where: Bools | None, needed: int) -> Verdict:
        judged = np.stack([vote.judged for vote in votes]).sum(axis=0) >= needed
        anomalous = np.stack([vote.anomalous for vote in votes]).sum(axis=0) >= needed
        if where is not None:
            judged, anomalous = judged & where, anomalous & where
        leaning = np.sum([vote.direction for vote in votes], axis=0, dtype=np.int8)
        # Two voters that disagree on the way: the first that fired decides.
        for vote in votes:
            leaning = np.where(leaning == 0, vote.direction, leaning)
        direction = np.where(anomalous, np.sign(leaning), 0).astype(np.int8)
        return Verdict(judged, anomalous, direction)
