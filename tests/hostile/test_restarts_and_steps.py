"""What comes back is no fault, and what stays is one: restarts, steps of series that rest, runs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hostile.judged_series import judged

_MINUTE_MS = 60_000
_FIVE_MINUTES, _HOUR = 5 * _MINUTE_MS, 60 * _MINUTE_MS
_SERIES = 6


def _leaks(rng: np.random.Generator, n: int, every: float) -> tuple[np.ndarray, np.ndarray]:
    """Memory that grows until a restart at random, of ``_SERIES`` machines; where they are."""
    begun = rng.random((_SERIES, n)) < 1 / every
    at = np.arange(n)
    since = at - np.maximum.accumulate(np.where(begun, at, 0), axis=1)
    return 200 + 5.0 * since + 2 * rng.normal(size=(_SERIES, n)), begun


def test_a_leak_that_ends_with_each_restart_is_told_a_few_times_and_then_is_usual() -> None:
    rows, begun = _leaks(np.random.default_rng(91), 8 * 168, 48)
    opened, _, _ = judged(rows, _HOUR, np.arange(rows.shape[1]))
    later = [(row, at) for row, places in enumerate(opened) for at in places if at >= 4 * 168]
    falls = int(begun[:, 4 * 168 :].sum())
    assert falls > 60
    told = sum(bool(begun[row, point]) for row, point in later)
    assert told <= falls / 8, (told, falls)


@pytest.mark.parametrize("kind", ["to a third of the place", "far below it", "up"])
def test_what_is_no_restart_of_a_leak_is_told(kind: str) -> None:
    rows, _ = _leaks(np.random.default_rng(92), 6 * 168, 48)
    fault = 6 * 168 - 48
    # All are restarted two days before, so that each stands at 440 now.
    since = np.arange(-48, 48)
    rows[:, fault - 48 :] = 200 + 5.0 * (since + 48) + np.random.default_rng(93).normal(size=96)
    change = {"to a third of the place": -380.0, "far below it": -1000.0, "up": 400.0}[kind]
    rows[:, fault:] += change
    opened, _, _ = judged(rows, _HOUR, np.arange(rows.shape[1]))
    found = sum(any(fault <= point < fault + 6 for point in places) for places in opened)
    assert found >= _SERIES - 1, opened


def test_spikes_that_fall_back_never_become_restarts() -> None:
    from services.detector.detectors import departure_returns as of
    from services.detector.detectors import make
    from services.detector.detectors.base import tick_of
    from shared.columns import Columns

    rng = np.random.default_rng(94)
    detector = make("surprise")
    state = Columns(detector.columns())
    state.grow(1)
    for at in range(3000):
        value = 50 + rng.normal() + (40 if at % 200 in (150, 151) else 0)
        detector.step(state, tick_of(np.array([value]), np.array([at * _FIVE_MINUTES])))
        assert state["returns"][0, of.TIMES] <= 1


def test_a_step_smaller_than_the_usual_event_of_a_series_that_rests_is_told_as_it_lasts() -> None:
    day, rng = 288, np.random.default_rng(95)
    n, fault = 15 * day + 144, 14 * day + 144
    events = (rng.random((16, n)) < 1 / day) * rng.lognormal(2, 0.7, (16, n))
    rows = 5.0 + events
    rows[:, fault:] += 3
    opened, _, _ = judged(rows, _FIVE_MINUTES, np.arange(n))
    found = [any(point >= fault for point in places) for places in opened]
    assert sum(found) >= 7, opened
    early = sum(point < fault for places in opened for point in places)
    assert early <= 35, "sixteen series of two weeks"


def test_a_disk_that_stops_being_written_to_is_stuck() -> None:
    day, rng = 288, np.random.default_rng(96)
    n, fault = 15 * day + 144, 14 * day + 144
    bursts = (rng.random((10, n)) < 0.05) * rng.lognormal(0, 1, (10, n))
    bursts[:, fault:] = 0
    opened, _, _ = judged(20 + 0.05 * bursts.cumsum(axis=1), _FIVE_MINUTES, np.arange(n))
    assert sum(any(point >= fault for point in places) for places in opened) >= 7, opened


def test_where_few_ranks_tell_a_new_series_threshold_is_further_out_at_fine_steps() -> None:
    from services.detector.detectors import departure_blocks as blocks

    near, far = (blocks.predicted(nats) - nats for nats in (0.5, 5.0))
    assert 0 < near < 0.05
    assert far > 1
    assert blocks.predicted(-1.0) == -1.0
