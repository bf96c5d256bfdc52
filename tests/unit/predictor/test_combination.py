"""Weights by backtests' errors, the weighted mean, and how far a forecast may go."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.predictor.combination import bounded, combined, weights_of

_ONE = np.ones(1)


def test_half_the_error_weighs_two_to_the_power_of_the_preference() -> None:
    errors = np.array([[[1.0, 1.0]], [[2.0, 2.0]]])
    (first, second) = weights_of(errors, _ONE, 3)
    assert first[0] / second[0] == np.float64(8) or abs(first[0] / second[0] - 8) < 1e-6


def test_who_did_not_speak_from_an_origin_counts_as_the_worst_there() -> None:
    errors = np.array([[[1.0, np.nan]], [[2.0, 5.0]], [[1.0, 5.0]]])
    weights = weights_of(errors, _ONE, 4)[:, 0]
    assert weights[0] == weights[2]
    assert weights[1] < weights[0]


def test_who_never_spoke_weighs_nothing_nor_anyone_where_all_are_silent() -> None:
    errors = np.array([[[np.nan], [np.nan]], [[1.0], [np.nan]]])
    np.testing.assert_array_equal(weights_of(errors, np.ones(2), 6), [[0, 0], [1, 0]])


@given(
    arrays.arrays(np.float64, (4, 3, 2), elements=st.floats(0, 1e12) | st.just(np.nan)),
    st.floats(0, 100),
)
def test_weights_are_shares_of_one_and_none_is_tiny(errors: np.ndarray, preference: float) -> None:
    weights = weights_of(errors, np.ones(3), preference)
    assert np.isfinite(weights).all()
    spoke = np.isfinite(errors).any(axis=(0, 2))
    np.testing.assert_allclose(weights.sum(axis=0), spoke.astype(float))
    assert not ((weights > 0) & (weights < 0.02)).any()


def test_members_that_cannot_speak_leave_their_weight_to_the_others() -> None:
    curves = np.full((2, 1, 3, 4), 5.0)
    curves[0] = np.nan
    weights = np.array([[0.9], [0.1]])
    np.testing.assert_array_equal(combined(curves, weights), np.full((1, 3, 4), 5.0))
    assert np.isnan(combined(np.full((2, 1, 3, 4), np.nan), weights)).all()


def test_a_forecast_stays_within_reach_of_the_history_and_a_steady_climb_goes_on() -> None:
    values = np.linspace(10, 20, 101)[None]
    ahead = np.arange(1, 201)
    climb = np.tile(20 + 0.1 * ahead, (1, 3, 1))
    np.testing.assert_array_equal(bounded(climb, values), climb)
    wild = np.tile(20 * 1.2**ahead, (1, 3, 1))
    assert bounded(wild, values).max() <= 20 + 10 * (1 + 2 * 200 / 101)
    np.testing.assert_array_equal(bounded(climb, np.full((1, 9), 7.0)), np.full((1, 3, 200), 7.0))
