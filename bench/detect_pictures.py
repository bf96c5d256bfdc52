"""The picture of docs/algorithms/detection.md: what each detector says of recorded series.

    python -m bench.detect_pictures

Reads docs/algorithms/recorded.csv (this project's own recording of a busy machine, a point a
second) and writes detection.svg beside it. Settings that count points are scaled to so short a
recording, the same for both series: see ``SETTINGS``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from shared.columns import Columns

FOLDER = Path("docs/algorithms")
SETTINGS: dict[str, dict[str, object]] = {
    # Half an alarm a week leaves nothing to see in some minutes.
    "surprise": {"alarms_per_week": 800, "settled_points": 100},
    "short_term": {"window_points": 240, "blocks": 24, "min_points": 60},
    "long_term": {"min_points": 60},
    "isolation_forest": {"window": 128},
    "median_absolute_deviation": {"window": 240},
    "stddev_from_moving_average": {},
    "histogram_bins": {"window": 240, "few": 3, "min_points": 60},
    "ks_test": {"probe": 20, "reference": 60},
}
_LEFT, _WIDTH, _CURVE, _STRIP, _GAP = 210, 760, 130, 15, 46
_WHOLE = 1000
"""Numbers from here on are shown without decimals."""
_COLOURS = {"curve": "#1f4e79", "fires": "#c0392b", "silent": "#d9d9d9", "text": "#222222"}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def judged(name: str, values: Floats) -> tuple[Bools, Bools]:
    """(could judge, fired) at each point of a series with a point a second."""
    detector = make(name, dict(SETTINGS[name]))
    state = Columns(detector.columns())
    state.grow(1)
    could, fired = np.zeros(len(values), dtype=np.bool_), np.zeros(len(values), dtype=np.bool_)
    for at in range(len(values)):
        tick = tick_of(values[at : at + 1], np.array([at * 1000]), broken=np.array([at == 0]))
        votes = detector.step(state, tick)
        could[at], fired[at] = votes.judged[0], votes.anomalous[0]
    return could, fired


def _text(x: float, y: float, text: str, size: int = 12, anchor: str = "end") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{_COLOURS["text"]}">{escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"


def _runs(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def panel(top: float, title: str, values: Floats) -> tuple[list[str], float]:
    """The parts of one series' panel, and where the next one begins."""
    n, low, high = len(values), float(values.min()), float(values.max())
    scale = (_CURVE - 10) / ((high - low) or 1.0)

    def x(at: float) -> float:
        return _LEFT + _WIDTH * at / n

    points = " ".join(
        f"{x(at):.1f},{top + _CURVE - (value - low) * scale:.1f}" for at, value in enumerate(values)
    )
    parts = [
        _text(_LEFT, top - 6, title, 14, "start"),
        _text(_LEFT - 8, top + 12, _number(high)),
        _text(_LEFT - 8, top + _CURVE, _number(low)),
        f'<polyline points="{points}" fill="none" stroke="{_COLOURS["curve"]}"/>',
    ]
    y = top + _CURVE + 12
    for name in SETTINGS:
        could, fired = judged(name, values)
        parts.append(_text(_LEFT - 8, y + 10, name))
        for mask, colour in ((~could, "silent"), (fired, "fires")):
            parts += [
                f'<rect x="{x(a):.1f}" y="{y:.1f}" width="{max(x(b) - x(a), 1.5):.1f}" '
                f'height="{_STRIP - 4}" fill="{_COLOURS[colour]}"/>'
                for a, b in _runs(mask)
            ]
        y += _STRIP
    return parts, y + _GAP


def main() -> None:
    with (FOLDER / "recorded.csv").open() as file:
        rows = list(csv.DictReader(file))
    top = 30.0
    parts: list[str] = []
    for column in list(rows[0])[1:]:
        values = np.array([float(row[column]) for row in rows])
        title = f"{column.replace('_', ' ')}, {len(rows) // 60} minutes"
        more, top = panel(top, title, values)
        parts += more
    height, width = top - _GAP + 12, _LEFT + _WIDTH + 16
    (FOLDER / "detection.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
