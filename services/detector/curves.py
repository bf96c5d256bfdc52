"""The detector's view of one series for a page: newest points, usual range, votes.

Reading changes nothing: judging a point again says the same, and no series is registered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from services.detector.alignment import NEVER
from services.detector.detectors import Detector
from services.detector.detectors.base import tick_of
from services.detector.detectors.threshold import Threshold
from services.detector.limits import Limits
from services.detector.notices import Notices
from services.detector.recent import Recent
from services.detector.verdicts import vote_of
from shared.columns import Columns
from shared.contracts import Curve, SeriesRef, SeriesSearch, ThresholdTry
from shared.contracts.alerts import BandPoint, Point, Vote
from shared.samples import labels_from, labels_text
from shared.series import SeriesIndex

_LATEST_TIME_MS = 2**62
_BAND_STEP_MS, _BAND_POINTS = 900_000, 97
"""The band is sent for the last day, as finely as the time of day is remembered."""
Longs = NDArray[np.int64]


class Curves:
    """Reads the state of one partition's series."""

    def __init__(
        self,
        series: SeriesIndex,
        detectors: Mapping[str, Detector],
        states: Mapping[str, Columns],
        recent: Recent,
        aligned: Columns,
        limits: Limits,
        alarms: Callable[[], Notices],
    ) -> None:
        self._series = series
        self._detectors = detectors
        self._states = states
        self._recent = recent
        self._aligned = aligned
        self._limits = limits
        self._alarms = alarms

    def search(self, asked: SeriesSearch) -> tuple[list[SeriesRef], bool]:
        """Series whose names have the wanted parts, and whether there are more."""
        host, item, rest = (text.casefold() for text in (asked.host, asked.item, asked.search))
        found: list[SeriesRef] = []
        for name in self._series.names:
            if host not in name[0].casefold() or item not in name[1].casefold():
                continue
            if rest and rest not in " ".join(name).casefold():
                continue
            if len(found) == asked.limit:
                return found, True
            found.append(SeriesRef(host=name[0], item=name[1], labels=labels_from(name[2])))
        return found, False

    def of(self, series: SeriesRef) -> Curve | None:
        """The series' curve; None for one that was never seen."""
        row = self._series.find(series.host, series.item, labels_text(series.labels))
        if row is None or row >= self._aligned.size:
            return None
        limit = float(self._limits.state["limit"][row])
        points = self._recent.points(row)
        last_ms = int(self._aligned["last_ms"][row])
        known = last_ms != NEVER and points
        return Curve(
            points=points,
            band=self._band(row, last_ms) if known else (),
            threshold=limit if np.isfinite(limit) else None,
            above=bool(self._limits.state["above"][row]),
            votes=self._votes(row, points[-1].value) if known else (),
        )

    def tried(self, asked: ThresholdTry) -> tuple[tuple[int, ...], float]:
        """Return when alarms of a history would have begun, and how long each had to last.

        The history goes through the very detector and notices that live points go through; only
        their state is new.
        """
        series = asked.series
        row = self._series.find(series.host, series.item, labels_text(series.labels))
        if row is None or row >= self._aligned.size:
            return (), 0.0
        confirm_s = float(self._limits.state["confirm_s"][row])
        detector, alarms, rows = self._detectors[Threshold.NAME], self._alarms(), np.array([0])
        alarms.state.grow(1)
        state = Columns(detector.columns())
        began: list[int] = []
        for point in filter(_is_ordinary, asked.points):
            times = np.array([point.time_ms])
            tick = tick_of(
                np.array([point.value]),
                times,
                rows=rows,
                limit=np.array([asked.threshold]),
                above=np.array([asked.above]),
            )
            votes = detector.judge(state, tick)
            changes = alarms.step(
                rows, times, votes.judged, votes.anomalous, np.array([confirm_s * 1000])
            )
            began += times[changes.opened].tolist()
        return tuple(began), confirm_s

    def _band(self, row: int, last_ms: int) -> tuple[BandPoint, ...]:
        times = last_ms - _BAND_STEP_MS * np.arange(_BAND_POINTS - 1, -1, -1, dtype=np.int64)
        local, _ = self._local(row, times)
        for name, detector in self._detectors.items():
            usual = detector.usual(self._states[name], row, local)
            if usual is not None:
                return tuple(
                    BandPoint(time_ms=at, mean=mean, lower=lower, upper=upper)
                    for at, (mean, lower, upper) in zip(times.tolist(), usual.tolist(), strict=True)
                    if np.isfinite((mean, lower, upper)).all()
                )
        return ()

    def _votes(self, row: int, value: float) -> tuple[Vote, ...]:
        """The votes that each detector would give on a next point with the last one's value."""
        step_ms = int(self._aligned["step_ms"][row])
        times = np.array([int(self._aligned["last_ms"][row]) + step_ms])
        local, holiday = self._local(row, times)
        limits = self._limits.state
        tick = tick_of(
            np.array([value]),
            times,
            rows=np.array([row]),
            limit=limits["limit"][[row]],
            above=limits["above"][[row]],
            local_ms=local,
            holiday=holiday,
            floor=limits["floor"][[row]],
            budget=limits["budget"][[row]],
        )
        return tuple(
            vote_of(detector, detector.judge(self._states[name], tick), 0)
            for name, detector in self._detectors.items()
        )

    def _local(self, row: int, times: Longs) -> tuple[Longs, NDArray[np.bool_]]:
        calendar = np.repeat(self._limits.state["calendar"][row], len(times))
        return self._limits.calendars.look(calendar, times)


def _is_ordinary(point: Point) -> bool:
    """Return whether arrays hold it: a message may have any number."""
    return abs(point.time_ms) < _LATEST_TIME_MS and math.isfinite(point.value)
