"""Skyline's nine against values worked out by hand, and against plain numpy on random series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector import order
from services.detector.combination import SKYLINE, Combination
from services.detector.detectors import Votes, ks_kernel, make
from services.detector.detectors.base import tick_of
from services.detector.detectors.grubbs import Grubbs, student
from services.detector.hourly import TY, YY, Hours, N, T, Y, deviation
from services.detector.settings import EngineSettings
from shared.columns import Columns
from shared.stationarity import adf

_MINUTE_MS = 60_000


class _One:
    """One series and one detector."""

    def __init__(self, name: str, **fields: object) -> None:
        self._detector = make(name, dict(fields))
        self._state = Columns(self._detector.columns())
        self._state.grow(1)
        self._at = -_MINUTE_MS

    def rest(self, minutes: int) -> None:
        self._at += minutes * _MINUTE_MS

    def learn(self, *values: float) -> None:
        for value in values:
            self._at += _MINUTE_MS
            self._detector.step(self._state, tick_of(np.array([value]), np.array([self._at])))

    def judge(self, value: float) -> Votes:
        moment = np.array([self._at + _MINUTE_MS])
        return self._detector.judge(self._state, tick_of(np.array([value]), moment))

    def fires(self, value: float) -> bool:
        votes = self.judge(value)
        assert votes.judged.all()
        return bool(votes.anomalous[0])


def test_three_points_are_compared_with_three_deviations_of_the_day() -> None:
    # Mean 4, sample deviation sqrt(8/3): 4.899 is allowed. (4 + 6 + 16)/3 is 4.667 away.
    one = _One("stddev_from_average", min_points=4)
    one.learn(2, 4, 4, 6)
    assert one.judge(16).numbers["limit"][0] == pytest.approx(3 * math.sqrt(8 / 3))
    assert one.judge(16).numbers["tail"][0] == pytest.approx(26 / 3)
    assert not one.fires(16)
    assert one.fires(17)
    assert one.fires(-13)
    assert not one.fires(-12)


def test_the_point_itself_is_compared_once_the_mean_is_taken_away() -> None:
    one = _One("mean_subtraction_cumulation", min_points=4)
    one.learn(2, 4, 4, 6)
    assert not one.fires(8.89)
    assert one.fires(8.90)
    assert one.fires(-0.90)


def test_the_first_hour_is_the_oldest_of_the_last_24() -> None:
    one = _One("first_hour_average", min_points=4)
    one.learn(2, 4, 4, 6)
    assert not one.judge(100).judged.any()
    one.rest(56)
    one.learn(*[5.0] * (23 * 60 - 1))
    votes = one.judge(5)
    assert votes.numbers["mean"][0] == 4
    assert votes.numbers["limit"][0] == pytest.approx(3 * math.sqrt(8 / 3))
    assert not one.fires(5)
    assert one.fires(17)
    one.learn(5)
    # Now the second hour is the oldest one, and it was constant.
    assert one.judge(5).numbers["mean"][0] == 5
    assert one.fires(5.1)


def test_the_moving_average_and_its_deviation_are_weighted_and_unbiased() -> None:
    # Weights 1/2 and 1: mean 4/3. Two points 2 apart have a variance of 2, whatever their weights.
    one = _One("stddev_from_moving_average", com=1, min_points=2)
    one.learn(0, 2)
    votes = one.judge(0)
    assert votes.numbers["mean"][0] == pytest.approx(4 / 3)
    assert votes.numbers["sigma"][0] == pytest.approx(math.sqrt(2))
    assert not one.fires(4 / 3 + 4.24)
    assert one.fires(4 / 3 + 4.25)
    assert one.fires(4 / 3 - 4.25)


def test_three_points_are_compared_with_the_line_through_the_day() -> None:
    # Slope 56/5 a minute through (1.5, 16); errors' root mean square sqrt(4.8/4), times 3: 3.286.
    # At minute 3, the middle of the newest three, the line has 32.8.
    one = _One("least_squares", min_points=4)
    one.learn(0, 10, 20, 34)
    votes = one.judge(54)
    assert votes.numbers["line"][0] == pytest.approx(32.8)
    assert votes.numbers["limit"][0] == pytest.approx(3 * math.sqrt(1.2))
    assert not one.fires(54)
    assert one.fires(56)


def test_errors_that_round_to_nothing_are_none() -> None:
    flat = [0.0, 0.1] * 10
    one, free = _One("least_squares"), _One("least_squares", rounded=False)
    one.learn(*flat)
    free.learn(*flat)
    assert not one.fires(50)
    assert free.fires(50)


@pytest.mark.parametrize(("points", "critical"), [(20, 2.708), (30, 2.908), (100, 3.384)])
def test_grubbs_critical_values_are_the_published_ones(points: int, critical: float) -> None:
    assert Grubbs().critical(np.array([float(points)]))[0] == pytest.approx(critical, abs=5e-4)


@pytest.mark.parametrize("freedom", [18, 50, 286, 1438])
def test_students_quantile_is_scipys(freedom: int) -> None:
    from scipy import stats

    upper = 0.05 / (2 * (freedom + 2))
    assert student(upper, freedom) == pytest.approx(-stats.t.ppf(upper, freedom), rel=2e-4)


def test_three_points_are_an_outlier_of_the_day_by_grubbs() -> None:
    # Ten times 4 and ten times 6: mean 5, deviation sqrt(20/19) = 1.026; 2.709 of them are allowed.
    one = _One("grubbs")
    one.learn(*[4, 6] * 10)
    votes = one.judge(12)
    assert votes.numbers["limit"][0] == pytest.approx(2.709 * math.sqrt(20 / 19), abs=1e-3)
    assert not one.fires(13.3)
    assert one.fires(13.4)
    assert one.fires(-3.4)


def test_three_points_fall_into_a_bin_with_few_others() -> None:
    # Bins 0-10 (0, 1, 2), 10-20 (four times 10) and 20-30 (20, 21, 30).
    one = _One("histogram_bins", window=10, bins=3, few=3, min_points=10)
    one.learn(0, 1, 2, 10, 10, 20, 21, 30, 10, 10)
    votes = one.judge(10)
    assert [votes.numbers[key][0] for key in ("score", "left", "right")] == [4, 10, 20]
    assert not one.fires(10)
    assert one.judge(2).numbers["score"][0] == 3
    assert one.fires(2)
    assert one.judge(50).numbers["score"][0] == 3
    outside = one.judge(100)
    assert outside.numbers["score"][0] == 0
    assert outside.direction[0] == 1


def test_the_median_and_its_deviation_are_the_textbooks() -> None:
    # Median 2; distances 0, 0, 1, 1, 2, 4, 7 have the median 1: 6 of them are allowed.
    one = _One("median_absolute_deviation", min_points=7)
    one.learn(1, 1, 2, 2, 4, 6, 9)
    assert not one.fires(8)
    assert one.fires(8.01)
    assert one.fires(-4.01)
    # Both middle values of an even number count: median 2.5, distances .5, .5, 1.5, 1.5.
    even = _One("median_absolute_deviation", min_points=3)
    even.learn(1, 2, 3, 4)
    assert even.judge(3).numbers["deviation"][0] == 1


def test_where_most_points_are_the_same_no_median_distance_is_an_anomaly() -> None:
    one = _One("median_absolute_deviation", min_points=4)
    one.learn(5, 5, 5, 9)
    assert not one.fires(1e9)


def test_the_distance_of_two_distributions() -> None:
    a, b = np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])
    assert ks_kernel.distance(a, b) == 0.5
    assert ks_kernel.distance(a, a) == 0
    assert ks_kernel.distance(a, b + 10) == 1


def test_its_significance_is_kolmogorovs_with_stephens_correction() -> None:
    from scipy import stats

    root = math.sqrt(300 * 60 / 360)
    expected = stats.kstwobign.sf((root + 0.12 + 0.11 / root) * 0.2)
    assert ks_kernel.significance(0.2, 300, 60) == pytest.approx(expected)
    assert ks_kernel.significance(0.0, 300, 60) == 1


@pytest.mark.slow
def test_another_distribution_fires_only_where_the_reference_was_stationary() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=60) + 10
    one, climbing = (_One("ks_test", reference=40, probe=20) for _ in range(2))
    one.learn(*noise)
    climbing.learn(*(np.arange(60) + 0.1 * noise))
    assert not one.fires(10)
    one.learn(*[20.0] * 10)
    climbing.learn(*[500.0] * 10)
    assert one.fires(20)
    assert one.judge(20).direction[0] == 1
    assert one.judge(20).numbers["score"][0] == pytest.approx(11 / 20, abs=0.05)
    assert not climbing.fires(500)


@pytest.mark.parametrize("seed", range(4))
def test_stationarity_is_decided_as_statsmodels_does(seed: int) -> None:
    from statsmodels.tsa.stattools import adfuller

    rng = np.random.default_rng(seed)
    noise = rng.normal(size=300)
    for series in (noise, noise.cumsum()):
        reference = adfuller(series, 10, result_object=False)
        assert adf(series, 10) == pytest.approx(reference[0], rel=1e-6)
        assert (adf(series, 10) < -2.86154) == (reference[1] < 0.05)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.integers(3, 20))
def test_ordered_windows_hold_the_newest_points_in_order(values: list[int], room: int) -> None:
    ring, ordered = np.full((1, room), np.nan, np.float32), np.full((1, room), np.nan, np.float32)
    seen, rows = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for value in values:
        order.add_all(ring, ordered, seen, rows, np.array([float(value)]))
    newest = np.array(values[-room:], dtype=np.float64)
    np.testing.assert_array_equal(ordered[0, : len(newest)], np.sort(newest))
    median, deviation_ = np.empty(1), np.empty(1)
    order.medians(ordered, seen, rows, median, deviation_)
    assert median[0] == np.median(newest)
    assert deviation_[0] == np.median(np.abs(newest - np.median(newest)))


def test_the_hours_window_holds_its_points_moments_also_after_gaps() -> None:
    hours = Hours(6)
    state = Columns(hours.columns())
    state.grow(1)
    rng = np.random.default_rng(2)
    steps = rng.choice([5, 7, 40, 200, 700], size=400, p=[0.6, 0.3, 0.08, 0.015, 0.005])
    minutes, values = np.cumsum(steps), rng.normal(size=400) * 10 + 1e6
    row = slice(0, 1)
    for at in range(400):
        moment = minutes[at : at + 1] * _MINUTE_MS
        found = hours.window(state, row, moment)[0]
        begin = (minutes[at] // 60 - 5) * 60
        inside = (minutes[:at] >= begin) & (np.arange(at) < at)
        y, t = values[:at][inside], minutes[:at][inside] / 60
        assert found[N] == len(y)
        if len(y) > 1:
            assert found[Y] == pytest.approx(y.mean())
            assert found[T] == pytest.approx(t.mean())
            assert deviation(found) == pytest.approx(y.std(ddof=1), rel=1e-6)
            assert found[TY] == pytest.approx(((t - t.mean()) * (y - y.mean())).sum(), abs=1e-3)
            assert found[YY] == pytest.approx(((y - y.mean()) ** 2).sum(), rel=1e-6)
        hours.add(state, row, moment, values[at : at + 1])


def test_six_of_skylines_nine_make_an_anomaly() -> None:
    combination = Combination(mode="skyline")
    assert combination.voters() == SKYLINE
    for firing, anomalous in ((5, False), (6, True)):
        votes = {
            name: Votes(
                np.array([True]), np.array([at < firing]), np.array([at < firing], np.int8), {}
            )
            for at, name in enumerate(SKYLINE)
        }
        assert combination.decide(votes, np.array([-1])).anomalous[0] == anomalous


def test_a_panel_is_of_detectors_that_exist_each_once_and_enough() -> None:
    chosen = {"mode": "panel", "panel": ["isolation_forest", "grubbs"], "needed": 2}
    assert EngineSettings.model_validate({"combination": chosen})
    for wrong, fault in (
        ({**chosen, "panel": ["grubs"], "needed": 1}, "no detector grubs"),
        ({**chosen, "panel": ["grubbs", "grubbs"]}, "twice"),
        ({**chosen, "needed": 3}, "can never be"),
        ({"mode": "panel"}, "needs a panel"),
        ({"panel": ["grubbs"]}, "is for mode panel"),
    ):
        with pytest.raises(ValueError, match=fault):
            EngineSettings.model_validate({"combination": wrong})
