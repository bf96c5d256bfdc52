"""Draw each kind of anomaly as the default detector tells it: ``python -m bench.kind_pictures``.

Series of ``bench.synthetic`` with two weeks of history get a fault; the day before it and a day of
it are drawn, from the anomaly on in red, with what was expected in grey. Of some series the
first is drawn whose fault is named as the kind in question. An SVG a kind in docs/algorithms/kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.synthetic import DAY, START_MS, STEP_MS, faulty
from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from shared.columns import Columns
from shared.contracts.alerts import AnomalyKind

FOLDER = Path("docs/algorithms/kinds")
CASES = {
    AnomalyKind.SPIKE: ("daily", "spike"),
    AnomalyKind.DIP: ("daily", "dip"),
    AnomalyKind.LEVEL_UP: ("square wave", "level"),
    AnomalyKind.LEVEL_DOWN: ("square wave", "level"),
    AnomalyKind.TREND: ("autoregressive", "trend"),
    AnomalyKind.MORE_NOISE: ("square wave", "more noise"),
    AnomalyKind.LESS_NOISE: ("white noise", "less noise"),
    AnomalyKind.STUCK: ("random walk", "stuck"),
    AnomalyKind.PATTERN_MISSING: ("square wave", "pattern missing"),
}
_SEED, _TRIED = 3, 60
_AT = 14 * DAY + DAY // 2
_END = _AT + DAY
_SHOWN = 2 * DAY
_WIDTH, _HEIGHT, _EDGE = 480, 120, 8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """The detector's first anomaly after the fault of one series, and what it expected."""

    at: int
    kind: AnomalyKind
    expected: Floats


def anomalies(values: Floats) -> list[Found | None]:
    """The anomaly of each series (a row), judged side by side; None where its fault was missed."""
    detector, n = make("surprise", {}), len(values)
    state = Columns(detector.columns())
    state.grow(n)
    found: list[Found | None] = [None] * n
    expected = np.empty((n, _END))
    for at in range(_END):
        now = np.full(n, START_MS + at * STEP_MS)
        votes = detector.step(state, tick_of(values[:, at].copy(), now))
        expected[:, at] = votes.numbers["expected"]
        for row in np.flatnonzero(votes.judged & votes.anomalous) if at >= _AT else ():
            if found[row] is None:
                numbers = {name: float(array[row]) for name, array in votes.numbers.items()}
                kind = detector.kind(numbers, int(votes.direction[row]))
                found[row] = Found(at, kind, expected[row])
    return found


def _line(values: Floats, first: int, low: float, scale: float, style: str) -> str:
    points = " ".join(
        f"{_EDGE + (_WIDTH - 2 * _EDGE) * (first + at) / _SHOWN:.1f},"
        f"{_HEIGHT - _EDGE - (value - low) * scale:.1f}"
        for at, value in enumerate(values.tolist())
    )
    return f'<polyline points="{points}" fill="none" {style}/>'


def picture(values: Floats, one: Found) -> str:
    """The SVG of the day before the fault and the day of it."""
    begin = _END - _SHOWN
    shown, expected = values[begin:], one.expected[begin:]
    low, high = float(shown.min()), float(shown.max())
    scale = (_HEIGHT - 2 * _EDGE) / ((high - low) or 1.0)
    at = one.at - begin
    parts = [
        _line(np.clip(expected, low, high), 0, low, scale, 'stroke="#bbbbbb"'),
        _line(shown[: at + 1], 0, low, scale, 'stroke="#1f4e79"'),
        _line(shown[at:], at, low, scale, 'stroke="#c0392b"'),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> None:
    """Draw all kinds; says what share of each case's faults was found, and as what."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for kind, (series, fault) in CASES.items():
        values = np.array(
            [faulty(series, fault, _SEED, number, _END, _AT)[0] for number in range(_TRIED)]
        )
        found = anomalies(values)
        kinds = [one.kind.value for one in found if one]
        print(f"{kind.value}: {fault} of {series}: { ({k: kinds.count(k) for k in set(kinds)}) }")
        for row, one in enumerate(found):
            if one and one.kind is kind:
                (FOLDER / f"{kind.value}.svg").write_text(picture(values[row], one))
                break
        else:
            raise SystemExit(f"no series of {series} shows {kind.value}")


if __name__ == "__main__":
    main()
