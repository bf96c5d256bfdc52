"""One detector alone on recorded series: its verdict on every point, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors import Detector
from services.detector.detectors.base import tick_of
from shared.columns import Columns
from shared.items import ITEMS
from shared.samples import SampleBatch

_TOLERATED_GAP = 3
"""Missing points after which recent history says nothing, as the engine has it."""
_WIDTH, _HEIGHT, _MARGIN = 960, 160, 20
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Anomaly:
    """A point that the detector calls anomalous."""

    time_ms: int
    value: float
    sentence: str


@dataclass(frozen=True)
class Trial:
    """A detector's verdicts on one series."""

    name: str
    time_ms: NDArray[np.int64]
    values: Floats
    judged: int
    anomalies: tuple[Anomaly, ...]

    @property
    def points(self) -> int:
        return len(self.values)

    def report(self) -> dict[str, object]:
        """Print JSON, for programs."""
        return {
            "series": self.name,
            "points": self.points,
            "judged": self.judged,
            "anomalies": [asdict(each) for each in self.anomalies],
        }


def trials(detector: Detector, batch: SampleBatch) -> list[Trial]:
    """Let a detector step through each series of a batch, which is in the order of its times."""
    codes = np.stack((batch.host_code, batch.item_code, batch.label_code))
    _, of_series = np.unique(codes, axis=1, return_inverse=True)
    found = []
    for number in range(int(of_series.max(initial=-1)) + 1):
        rows = np.flatnonzero(of_series == number)
        host, item, labels = codes[:, rows[0]]
        names = (batch.hosts[host], batch.items[item], batch.labels[labels])
        found.append(trial(detector, names, batch.time_ms[rows], batch.value[rows]))
    return found


def trial(
    detector: Detector, names: Sequence[str], time_ms: NDArray[np.int64], values: Floats
) -> Trial:
    """Let a detector judge the points of one series in their order."""
    state = Columns(detector.columns())
    state.grow(1)
    between = np.diff(time_ms)
    step = max(1.0, float(np.median(between))) if len(between) else 1.0
    missing = np.maximum(np.rint(between / step) - 1, 0).astype(np.int32)
    missing = np.concatenate((np.zeros(1, dtype=np.int32), missing))
    item = ITEMS.get(names[1])
    limit = np.nan if item is None or item.threshold is None else item.threshold
    judged, anomalies = 0, []
    for at in range(len(values)):
        one = slice(at, at + 1)
        tick = tick_of(
            values[one],
            time_ms[one],
            missing=missing[one],
            broken=np.array([at == 0 or missing[at] > _TOLERATED_GAP]),
            limit=np.array([limit]),
            above=np.array([item is None or item.above]),
        )
        votes = detector.step(state, tick)
        judged += int(votes.judged[0])
        if votes.anomalous[0]:
            numbers = {name: float(array[0]) for name, array in votes.numbers.items()}
            sentence = detector.explain(numbers)
            anomalies.append(Anomaly(int(time_ms[at]), float(values[at]), sentence))
    name = " ".join(part for part in names if part)
    return Trial(name, time_ms, values, judged, tuple(anomalies))


def svg(found: Sequence[Trial]) -> str:
    """Each series as a line, with a circle at each anomaly whose title is its sentence."""
    band = _HEIGHT + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{band * len(found)}">',
        "<style>polyline{fill:none;stroke:#36c}circle{fill:#c22}text{font:12px sans-serif}</style>",
    ]
    for number, one in enumerate(found):
        parts += _series(one, number * band + _MARGIN)
    return "\n".join([*parts, "</svg>", ""])


def _series(one: Trial, top: int) -> list[str]:
    known = np.isfinite(one.values)
    if not known.any():
        return []
    low, high = float(one.values[known].min()), float(one.values[known].max())
    first, span = int(one.time_ms[0]), max(1, int(one.time_ms[-1] - one.time_ms[0]))

    def place(time_ms: int, value: float) -> tuple[float, float]:
        x = (time_ms - first) / span * _WIDTH
        return x, top + _HEIGHT * (1 - (value - low) / ((high - low) or 1))

    line = (
        place(int(t), float(v)) for t, v in zip(one.time_ms[known], one.values[known], strict=True)
    )
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
    return [
        f'<text x="4" y="{top - 5}">{escape(one.name)}: {low:g} to {high:g}</text>',
        f'<polyline points="{points}"/>',
        *(
            '<circle cx="{:.1f}" cy="{:.1f}" r="4">'.format(*place(each.time_ms, each.value))
            + f"<title>{escape(each.sentence)}</title></circle>"
            for each in one.anomalies
        ),
    ]
