"""Tests of what every registered detector must do, whatever its method."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.detectors import Detector, Tick, Votes, make, registered
from services.detector.detectors.base import tick_of
from shared.columns import Columns

_QUICK = {
    "short_term": {"window_points": 120, "blocks": 12, "min_points": 40},
    "long_term": {"min_points": 40},
    "surprise": {"min_points": 100},
    "isolation_forest": {"window": 128, "rebuild_every": 4},
    "first_hour_average": {"first_hours": 6},
    "histogram_bins": {"window": 240, "few": 2, "min_points": 100},
    "ks_test": {"reference": 150, "probe": 20},
}
"""Settings that let a detector judge within this suite's 12 days of hourly points."""
_LASTING = {"ks_test": 15}
"""How many points a jump must last for it, where that is more than one."""
_HOUR_MS = 3_600_000
_POINTS = 12 * 24
_SERIES = 7
_NAMES = list(registered())


def _detector(name: str) -> Detector:
    return make(name, _QUICK.get(name, {}))


def _times(point: int, n: int = _SERIES) -> np.ndarray:
    return np.full(n, point * _HOUR_MS, dtype=np.int64)


def _tick(point: int, values: np.ndarray, **fields: np.ndarray) -> Tick:
    fields.setdefault("limit", np.full(len(values), 150.0))
    return tick_of(values, _times(point, len(values)), **fields)


def _curves(seed: int = 3) -> np.ndarray:
    """Series with a daily rhythm and noise, (series, points)."""
    rng = np.random.default_rng(seed)
    hours = np.arange(_POINTS)
    level = 100 + 10 * np.arange(_SERIES)[:, None] / _SERIES
    return level + 10 * np.sin(2 * np.pi * hours / 24) + rng.normal(size=(_SERIES, _POINTS))


def _learned(detector: Detector, curves: np.ndarray) -> Columns:
    state = Columns(detector.columns())
    state.grow(len(curves))
    for point in range(curves.shape[1]):
        detector.step(state, _tick(point, curves[:, point]))
    return state


def _same(one: Votes, other: Votes) -> None:
    np.testing.assert_array_equal(one.judged, other.judged)
    np.testing.assert_array_equal(one.anomalous, other.anomalous)
    np.testing.assert_array_equal(one.direction, other.direction)
    assert one.numbers.keys() == other.numbers.keys()
    for key, numbers in one.numbers.items():
        np.testing.assert_array_equal(numbers, other.numbers[key], err_msg=key)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e12])
def test_a_constant_series_never_fires(name: str, constant: float) -> None:
    detector = _detector(name)
    state = Columns(detector.columns())
    state.grow(1)
    for point in range(_POINTS):
        votes = detector.step(state, _tick(point, np.array([constant]), limit=np.array([2e12])))
        assert not votes.anomalous.any(), point


@pytest.mark.parametrize("name", _NAMES)
def test_a_point_without_a_value_cannot_be_judged_and_is_not_learned(name: str) -> None:
    detector, curves = _detector(name), _curves()
    state, other = _learned(detector, curves), _learned(detector, curves)
    nothing = np.full(_SERIES, np.nan)
    votes = detector.step(state, _tick(_POINTS, nothing))
    assert not votes.judged.any()
    assert not votes.anomalous.any()
    for column in state:
        np.testing.assert_array_equal(state[column], other[column], err_msg=column)


@pytest.mark.parametrize("name", _NAMES)
def test_a_missing_value_in_one_series_leaves_the_others_alone(name: str) -> None:
    detector, curves = _detector(name), _curves()
    state, other = _learned(detector, curves), _learned(detector, curves)
    values = curves[:, 0].copy()
    whole = detector.step(other, _tick(_POINTS, values))
    values[2] = np.nan
    votes = detector.step(state, _tick(_POINTS, values))
    rest = np.arange(_SERIES) != 2
    assert not votes.judged[2]
    np.testing.assert_array_equal(votes.judged[rest], whole.judged[rest])


@pytest.mark.parametrize("name", [n for n in _NAMES if n not in ("chain", "threshold")])
def test_after_a_gap_recent_history_says_nothing(name: str) -> None:
    detector = _detector(name)
    state = _learned(detector, _curves())
    broken = np.ones(_SERIES, dtype=np.bool_)
    votes = detector.step(state, _tick(_POINTS, np.full(_SERIES, 1e6), broken=broken))
    assert not votes.judged.any()
    assert not votes.anomalous.any()


@pytest.mark.parametrize("name", _NAMES)
def test_nothing_is_judged_without_history(name: str) -> None:
    detector = _detector(name)
    state = Columns(detector.columns())
    state.grow(_SERIES)
    votes = detector.step(state, _tick(0, np.arange(_SERIES) * 1e6, limit=np.full(_SERIES, np.nan)))
    assert not votes.judged.any()
    assert not votes.anomalous.any()


@pytest.mark.parametrize("name", _NAMES)
def test_series_one_by_one_give_what_the_batch_gives(name: str) -> None:
    detector, curves = _detector(name), _curves()
    together = Columns(detector.columns())
    together.grow(_SERIES)
    alone = [Columns(detector.columns()) for _ in range(_SERIES)]
    for state in alone:
        state.grow(1)
    rng = np.random.default_rng(5)
    for point in range(_POINTS):
        rows = np.flatnonzero(rng.random(_SERIES) < 0.9)
        if not len(rows):
            continue
        values = curves[rows, point]
        votes = detector.step(together, _tick(point, values, rows=rows))
        for place, row in enumerate(rows):
            single = detector.step(alone[row], _tick(point, values[place : place + 1]))
            picked = Votes(
                votes.judged[place : place + 1],
                votes.anomalous[place : place + 1],
                votes.direction[place : place + 1],
                {key: numbers[place : place + 1] for key, numbers in votes.numbers.items()},
            )
            _same(picked, single)


@pytest.mark.parametrize("name", _NAMES)
def test_a_restored_snapshot_goes_on_as_if_nothing_had_happened(name: str) -> None:
    detector, curves = _detector(name), _curves()
    half = _POINTS // 2
    state = _learned(detector, curves[:, :half])
    saved = state.snapshot()
    restored = Columns(detector.columns())
    restored.restore(saved, _SERIES)
    for point in range(half, _POINTS):
        tick = _tick(point, curves[:, point])
        _same(detector.step(state, tick), detector.step(restored, tick))


@pytest.mark.parametrize("name", _NAMES)
def test_the_checked_point_is_not_part_of_its_history(name: str) -> None:
    detector, curves = _detector(name), _curves()
    state = _learned(detector, curves)
    tick = _tick(_POINTS, np.full(_SERIES, 1e6))
    first = detector.judge(state, tick)
    _same(first, detector.judge(state, tick))
    changed = detector.judge(state, _tick(_POINTS, np.full(_SERIES, 2e6)))
    compared = {"value", "differing", "amplitude", "score", "tail", "left", "right"}
    for key in first.numbers.keys() - compared:
        np.testing.assert_array_equal(first.numbers[key], changed.numbers[key], err_msg=key)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize(("value", "sign"), [(200.0, 1), (1.0, -1)])
def test_a_great_jump_fires_in_its_direction(name: str, value: float, sign: int) -> None:
    detector = _detector(name)
    state = _learned(detector, _curves())
    above = np.full(_SERIES, sign > 0)
    limit = np.full(_SERIES, 150.0 if sign > 0 else 50.0)
    for point in range(_POINTS, _POINTS + _LASTING.get(name, 1)):
        tick = _tick(point, np.full(_SERIES, value), above=above, limit=limit)
        votes = detector.step(state, tick)
    assert votes.judged.all()
    assert votes.anomalous.all()
    assert (votes.direction == sign).all()


@pytest.mark.parametrize("name", _NAMES)
def test_it_explains_itself_with_the_numbers_it_compared(name: str) -> None:
    detector = _detector(name)
    state = _learned(detector, _curves())
    votes = detector.step(state, _tick(_POINTS, np.full(_SERIES, 200.0)))
    sentence = detector.explain({key: float(n[0]) for key, n in votes.numbers.items()})
    assert "200" in sentence
    assert "nan" not in sentence
    assert sum(character.isdigit() for character in sentence) >= 6


@pytest.mark.parametrize("name", _NAMES)
def test_unknown_settings_and_changes_of_settings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="surprise"):
        make(name, {"surprise": 1})
    assert registered()[name].model_config["frozen"]


@pytest.mark.parametrize("name", _NAMES)
def test_every_setting_is_described(name: str) -> None:
    assert all(field.description for field in registered()[name].model_fields.values())
