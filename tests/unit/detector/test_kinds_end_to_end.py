"""What the default detector calls faults in made series: a rhythm's missing peak, most of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from shared.columns import Columns
from shared.contracts.alerts import AnomalyKind

_STEP_MS, _DAY = 900_000, 96
_START_MS = 1_767_571_200_000
_HISTORY = 14 * _DAY


def _backups(rng: np.random.Generator, days: int, *, height: float) -> np.ndarray:
    """A job from 02:00 to 04:00 every night."""
    hour = np.arange(days * _DAY) % _DAY / _DAY * 24
    return 50 + height * ((hour >= 2) & (hour < 4)) + rng.normal(size=days * _DAY)


def _kinds(values: np.ndarray) -> list[list[AnomalyKind]]:
    """The kinds of the anomalies of each series' last day, in order."""
    detector, n = make("surprise", {}), len(values)
    state = Columns(detector.columns())
    state.grow(n)
    found: list[list[AnomalyKind]] = [[] for _ in range(n)]
    for at in range(values.shape[1]):
        now = np.full(n, _START_MS + at * _STEP_MS)
        votes = detector.step(state, tick_of(values[:, at].copy(), now))
        if at < _HISTORY:
            continue
        for row in np.flatnonzero(votes.judged & votes.anomalous):
            numbers = {name: float(array[row]) for name, array in votes.numbers.items()}
            found[row].append(detector.kind(numbers, int(votes.direction[row])))
    return found


@pytest.mark.parametrize("height", [20.0, -20.0])
def test_a_nightly_job_that_does_not_run_is_a_missing_pattern(height: float) -> None:
    rng = np.random.default_rng(8)
    series = np.array([_backups(rng, 15, height=height) for _ in range(20)])
    night = slice(_HISTORY + 8, _HISTORY + 16)
    series[:, night] -= height

    named = [kinds[0] for kinds in _kinds(series) if kinds]

    assert len(named) >= 18
    assert named.count(AnomalyKind.PATTERN_MISSING) >= 0.9 * len(named)


def test_a_fall_by_day_is_a_dip_and_no_missing_pattern() -> None:
    rng = np.random.default_rng(9)
    series = np.array([_backups(rng, 15, height=20.0) for _ in range(20)])
    series[:, _HISTORY + 48 : _HISTORY + 51] -= 20

    named = [kinds[0] for kinds in _kinds(series) if kinds]

    assert len(named) >= 18
    assert AnomalyKind.PATTERN_MISSING not in named
    assert named.count(AnomalyKind.DIP) >= 0.8 * len(named)


# The first call compiles what it calls, which takes as long as it takes.
@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=96),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e3),
)
def test_what_is_as_expected_is_never_missing(
    slots: list[float], value: float, expected: float, usual: float
) -> None:
    from services.detector.detectors.departure_shape import missing

    row = np.array(slots, dtype=np.float32)
    assert not missing(row, expected, expected, usual)
    if missing(row, value, expected, usual):
        assert abs(value - expected) >= 3 * usual


def test_the_way_of_three_points_is_that_of_the_last_unless_it_is_no_departure() -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors.departure_shape import way

    fresh = np.zeros(of.PACE)
    for where in (of.THREE, of.SCORE):
        assert way(where, 3.0, -9.0, fresh, True, True) == 1
        assert way(where, -3.0, 9.0, fresh, True, True) == -1
        assert way(where, 0.5, -9.0, fresh, True, True) == -1
