"""Probabilities of reaching a threshold, against simulated paths; clean-ups with a rhythm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.predictor.behaviour import after_clean_ups, clean_ups_of
from services.predictor.coverage import Coverage
from services.predictor.forecasters.base import around
from services.predictor.ledger import Score
from services.predictor.nearness import Nearness
from services.predictor.passage import brownian, empirical, over_paths, passage_of


def _walks(drift: float, deviation: float, steps: int, count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(drift, deviation, size=(count, steps)), axis=1)


@pytest.mark.parametrize(("drift", "distance"), [(0.1, 4.0), (0.0, 3.0), (-0.05, 3.0), (0.3, 8.0)])
def test_brownian_passage_is_that_of_simulated_walks(drift: float, distance: float) -> None:
    # Forty steps a step, so that the walks are nearly continuous.
    fine = _walks(drift / 40, 1 / np.sqrt(40), 24 * 40, 4000)
    expected = (np.maximum.accumulate(fine, axis=1) >= distance).mean(axis=0)[39::40]
    history = np.cumsum(np.resize([drift - 1.0, drift + 1.0], 500))
    np.testing.assert_allclose(brownian(history, distance, 24), expected, atol=0.04)


def test_a_straight_line_arrives_when_it_arrives() -> None:
    found = brownian(np.arange(100.0), 5.0, 10)
    np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])


def test_empirical_passage_is_the_share_of_past_rises() -> None:
    values = np.concatenate([np.zeros(50), np.full(50, 10.0)])
    found = empirical(values, 10.0, 10)
    assert found[-1] == pytest.approx(10 / 90)
    assert empirical(values, 11.0, 10)[-1] == 0


def test_paths_around_a_random_walks_forecast_are_the_walks() -> None:
    ahead = np.arange(1.0, 25)
    expected = (np.maximum.accumulate(_walks(0.1, 1, 24, 20_000), axis=1) >= 4).mean(axis=0)
    np.testing.assert_allclose(over_paths(0.1 * ahead, np.sqrt(ahead), 4.0), expected, atol=0.06)


@given(st.floats(-1, 1), st.floats(0.01, 5), st.floats(0.1, 50), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_probabilities_never_fall_and_their_quantiles_are_in_order(
    drift: float, deviation: float, distance: float, above: bool, stable: bool
) -> None:
    history = _walks(drift, deviation, 200, 1)[0]
    ahead = np.arange(1.0, 25)
    forecast = around(history[-1] + drift * ahead, deviation * np.sqrt(ahead))
    threshold = history[-1] + (distance if above else -distance)
    found = passage_of(history, forecast, threshold, above=above, stable=stable)
    assert (np.diff(found.reached) >= 0).all()
    assert 0 <= found.probability <= 1
    early, late = found.likely
    assert 0 <= early <= found.quantile(0.5) <= late <= 24


def test_stated_probabilities_come_true_about_as_often_as_they_say() -> None:
    walks = 50 + _walks(0.05, 1.0, 400, 300, seed=4)
    stated, came = [], []
    for walk in walks:
        history, future = walk[:376], walk[376:]
        threshold = history[-1] + 4
        forecast = around(np.full(24, history[-1]), np.sqrt(np.arange(1.0, 25)))
        found = passage_of(history, forecast, threshold, above=True, stable=True)
        stated.append(found.probability)
        came.append(future.max() >= threshold)
    assert np.mean(stated) == pytest.approx(np.mean(came), abs=0.08)


def _sawtooth(cycles: int, every: int = 24, pace: float = 1.0) -> np.ndarray:
    return 50 + pace * np.tile(np.arange(every, dtype=float), cycles)


def test_clean_ups_at_equal_distances_have_a_rhythm_and_the_next_is_due() -> None:
    found = clean_ups_of(np.append(_sawtooth(5), _sawtooth(1)[:6]), 90, above=True)
    assert (found.count, found.every, found.next_in) == (5, 24, 19)
    assert found.fall == pytest.approx(24)
    np.testing.assert_allclose(np.diff(found.levelled), 1)


def test_clean_ups_now_and_then_have_no_rhythm() -> None:
    pieces = [_sawtooth(1, every) for every in (20, 45, 8, 30)]
    assert clean_ups_of(np.concatenate(pieces), 90, above=True).next_in is None


def test_a_rhythm_that_is_overdue_is_none() -> None:
    values = np.append(_sawtooth(4), 50 + np.arange(40.0))
    assert clean_ups_of(values, 99, above=True).next_in is None


def test_a_forecast_falls_when_a_clean_up_is_due() -> None:
    found = clean_ups_of(np.append(_sawtooth(5), _sawtooth(1)[:6]), 90, above=True)
    rising = around(55 + np.arange(1.0, 49), np.ones(48))
    fallen = after_clean_ups(rising, found, above=True)
    np.testing.assert_allclose(fallen.mean[:18], rising.mean[:18])
    np.testing.assert_allclose(rising.mean[18:42] - fallen.mean[18:42], 24)
    np.testing.assert_allclose(rising.mean[42:] - fallen.mean[42:], 48)


def test_a_value_is_judged_once_by_the_forecast_that_waited_for_it() -> None:
    coverage, row = Coverage(3), np.array([0])
    coverage.state.grow(1)
    assert not coverage.waits(0, 10)
    coverage.keep(0, 10, around(np.array([1.0, 2.0, 3.0]), np.full(3, 0.1)), 0.2)
    assert [coverage.waits(0, step) for step in (10, 12, 13)] == [True, True, False]
    for step, value, expected in ((10, 1.0, True), (11, 5.0, False), (12, 3.1, True)):
        known, inside = coverage.judge(row, np.array([step]), np.array([value]))
        assert (list(known), list(inside)) == ([0], [expected])
    known, _ = coverage.judge(row, np.array([13]), np.array([3.0]))
    assert not len(known)


def _decided(chance: float, beyond: list[bool]) -> list[tuple[float, bool]]:
    """Return what is said of a forecast of three steps from 10 on, step by step."""
    coverage, row = Coverage(3), np.array([0])
    coverage.state.grow(1)
    coverage.keep(0, 10, around(np.zeros(3), np.ones(3)), chance)
    said = []
    for step, there in enumerate(beyond, 10):
        known, chances, came = coverage.came(row, np.array([step]), np.array([there]))
        said += list(zip(chances.tolist(), came.tolist(), strict=True)) if len(known) else []
    return said


def test_a_probability_is_judged_once_when_the_alarm_comes_or_the_horizon_has_passed() -> None:
    assert _decided(0.7, [False, True, True, True]) == [(0.7, True)]
    assert _decided(0.2, [False, False, False, True]) == [(0.2, False)]
    assert _decided(0.2, [False, False]) == []


def test_the_brier_score_is_judged_by_what_the_usual_share_would_have_scored() -> None:
    score = Score(chances=4, came=1, squares=0.04 * 3 + 0.25)
    assert score.brier == pytest.approx(0.0925)
    assert score.brier_skill == pytest.approx(1 - 0.0925 / (0.25 * 0.75))
    both = score.plus(Score(chances=1, hit=2))
    assert (both.chances, both.hit, both.came) == (5, 2, 1)
    assert Score().brier is None
    assert Score(chances=3).brier_skill is None


def _nearness(values: np.ndarray, limit: float, horizon: int = 24) -> list[bool]:
    nearness, row = Nearness(), np.array([0])
    nearness.state.grow(1)
    found = []
    for value in values:
        nearness.update(row, np.array([value]))
        found.append(bool(nearness.near(row, np.array([limit]), np.array([horizon]))[0]))
    return found


def test_what_swings_far_below_its_threshold_is_far() -> None:
    steps, rng = np.arange(400), np.random.default_rng(1)
    values = 40 + 15 * np.sin(2 * np.pi * steps / 24) + 3 * rng.normal(size=400)
    assert np.mean(_nearness(values, 90)[100:]) < 0.1


def test_what_grows_steadily_is_near_a_horizon_before_it_arrives() -> None:
    values = 20 + 0.5 * np.arange(140) + 0.1 * np.random.default_rng(1).normal(size=140)
    found = _nearness(values, 90)
    assert all(found[140 - 30 :])
    assert not any(found[50:80])


def test_a_trend_that_has_just_begun_is_near() -> None:
    rng = np.random.default_rng(2)
    values = np.append(40 + 0.3 * rng.normal(size=300), 40 + 1.5 * np.arange(1, 33))
    assert all(_nearness(values, 90)[-16:])
