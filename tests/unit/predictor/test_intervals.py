"""How wide intervals are: by what backtests missed on each side, and by steps that stay."""

from __future__ import annotations

import numpy as np

from services.predictor.intervals import widened, widening_of, with_lasting_steps


def _tested(half: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a backtest of four origins and 24 steps whose bounds lie ``half`` from the mean 0."""
    curves = np.zeros((1, 4, 3, 24))
    curves[:, :, 1], curves[:, :, 2] = -half, half
    return curves, np.zeros((1, 4, 24))


def test_a_side_that_missed_is_widened_more_than_the_other() -> None:
    curves, actual = _tested()
    actual[0, 2, 3] = 9
    ((down, up),) = widening_of(curves, actual)
    np.testing.assert_allclose(up, 9**0.75)
    assert down < 1, "nothing was missed downwards"
    actual[0, 1, 5] = -4
    ((down, up),) = widening_of(curves, actual)
    np.testing.assert_allclose([down, up], [np.sqrt(4 * 9) ** 0.75, 9**0.75])


def test_an_error_that_lasts_counts_in_full_and_a_gap_counts_nothing() -> None:
    curves, actual = _tested()
    actual[0, 0] = 9
    np.testing.assert_allclose(widening_of(curves, actual)[0, 1], 9)
    actual[:] = np.nan
    assert widening_of(curves, actual).tolist() == [[1, 1]]


def test_an_interval_that_held_with_room_to_spare_is_narrowed_the_more_was_tested() -> None:
    curves, actual = _tested()
    actual[0, :, ::2], actual[0, :, 1::2] = 0.2, -0.2
    ((down, up),) = widening_of(curves, actual)
    assert down == up
    assert 0.5 < up < 0.6
    (short,) = widening_of(curves[:, :1, :, :6], actual[:, :1, :6])
    assert up < short[1] < 1, "six values say little"


def test_there_is_a_factor_whatever_was_tested() -> None:
    curves, actual = _tested(0.0)
    assert widening_of(curves, actual + 1)[0, 1] == 10, "however small the interval was"
    assert widening_of(curves, actual).tolist() == [[1, 1]], "every forecast was exact"
    assert widening_of(np.full_like(curves, np.nan), actual + 1).tolist() == [[1, 1]]
    assert widening_of(curves[:, :0], actual[:, :0]).tolist() == [[1, 1]], "no backtest"


def test_a_widened_interval_keeps_its_mean_and_its_sides() -> None:
    curves = np.array([[[5.0], [4.0], [7.0]]])
    found = widened(curves, np.array([[3.0, 2.0]]), 1)
    np.testing.assert_array_equal(found, [[[5.0], [2.0], [9.0]]])


def test_intervals_grow_beyond_what_was_backtested() -> None:
    curves = np.tile([[0.0], [-1.0], [1.0]], (1, 1, 8))
    lower, upper = widened(curves, np.array([[3.0, 3.0]]), 2)[0, 1:]
    np.testing.assert_array_equal(lower, -upper)
    np.testing.assert_allclose(upper[[0, 1, 7]], [3, 3, 6])


def _bounds(values: np.ndarray, horizon: int = 168, season: int = 24) -> np.ndarray:
    curve = np.zeros((3, horizon))
    return with_lasting_steps(curve, values, season)


def test_a_step_that_stayed_may_come_again_and_larger_where_more_time_is_given() -> None:
    steps = np.arange(672)
    _, lower, upper = _bounds(np.where(steps < 400, 10.0, 30.0))
    assert (np.diff(upper) > 0).all()
    assert upper[0] < 2, "in the next hour it is unlikely"
    assert 40 < upper[-1] < 70
    assert lower.min() > -0.2, "it never fell"
    _, lower, upper = _bounds(np.where(steps < 400, 30.0, 10.0))
    assert lower[-1] < -40
    assert upper.max() < 0.2


def test_what_comes_back_within_a_season_is_no_lasting_step() -> None:
    steps = np.arange(672)
    spike = np.where(steps == 300, 1e6, 5.0)
    daily = 10 * np.sin(2 * np.pi * steps / 24)
    noise = np.random.default_rng(5).normal(size=672)
    for values in (spike, daily, noise, 0.5 * steps, np.full(672, 3.0), steps[:30] * 1.0):
        np.testing.assert_allclose(_bounds(values), 0, atol=1e-9)
