"""VUS-PR and the made series of ``bench.strangers``: by hand where that is possible."""

from __future__ import annotations

import numpy as np
import pytest

from bench import oracle
from bench.synthetic import DAY, FAULTS, KINDS, faulty, made
from bench.vus import period, runs, vus_pr


def _labels(n: int, *spans: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(n, dtype=np.bool_)
    for first, last in spans:
        labels[first : last + 1] = True
    return labels


def test_runs_are_first_and_last_places() -> None:
    assert runs(_labels(9, (0, 1), (4, 4), (7, 8))) == [(0, 1), (4, 4), (7, 8)]


def test_the_period_is_the_lag_of_the_highest_peak_of_the_autocorrelation() -> None:
    assert period(np.sin(2 * np.pi * np.arange(600) / 24)) == 24
    assert period(np.full(600, 3.0)) == 125


def test_a_perfect_score_without_a_buffer_is_worth_one_and_a_reversed_one_little() -> None:
    labels = _labels(1000, (400, 419), (700, 719))
    perfect = labels + np.linspace(0, 0.1, 1000)
    assert vus_pr(labels, perfect, 0) == pytest.approx(1.0, abs=0.02)
    assert vus_pr(labels, -perfect, 0) < 0.05


def test_a_near_miss_is_worth_something_only_with_a_buffer() -> None:
    labels = _labels(1000, (400, 419))
    late = _labels(1000, (422, 441)).astype(np.float64)
    far = _labels(1000, (600, 619)).astype(np.float64)
    assert vus_pr(labels, late, 0) == pytest.approx(vus_pr(labels, far, 0), abs=0.01)
    assert vus_pr(labels, late, 40) > vus_pr(labels, far, 40) + 0.1


def test_half_of_the_runs_are_worth_less_than_half_of_their_area() -> None:
    # One of two runs is found: recall is halved by its points and again by its runs.
    labels = _labels(1000, (100, 119), (500, 519))
    one = _labels(1000, (100, 119)) + np.linspace(0, 1e-6, 1000)
    assert 0.2 < vus_pr(labels, one, 0) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_series_depends_on_kind_seed_and_number_alone(kind: str) -> None:
    first, again = made(kind, 3, 4, 2 * DAY), made(kind, 3, 4, 2 * DAY)
    np.testing.assert_array_equal(first.values, again.values)
    assert np.isfinite(first.values).all()
    assert (first.values != made(kind, 4, 4, 2 * DAY).values).any()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_nothing_before_it_begins(fault: str) -> None:
    at = 3 * DAY
    values, one = faulty("daily", fault, 3, 0, 4 * DAY, at)
    np.testing.assert_array_equal(values[:at], one.values[:at])
    assert (values[at:] != one.values[at:]).any()


def test_the_oracle_keeps_its_budget_and_sees_a_level_of_three_deviations() -> None:
    usual = [made("white noise", 5, number, 30 * DAY) for number in range(4)]
    limit = oracle.threshold("level", usual, 0.5)
    told = [oracle.statistic("level", one.values, one) > limit for one in usual]
    assert sum(fires.any() for fires in told) <= len(told)
    values, one = faulty("white noise", "level", 5, 9, 5 * DAY, 4 * DAY)
    assert (oracle.statistic("level", values, one)[4 * DAY :] > limit).any()
