"""Golden values of the detectors, computed by hand from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.detector.calendars import local_ms
from services.detector.detectors import Detector, Votes, make
from services.detector.detectors.base import tick_of
from services.detector.detectors.isolation_forest import expected_path
from shared.columns import Columns

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def _run(detector: Detector, values: list[float], step_ms: int = 60_000) -> Votes:
    """The vote on the last of ``values``."""
    state = Columns(detector.columns())
    state.grow(1)
    for number, value in enumerate(values):
        votes = detector.step(state, tick_of(np.array([value]), np.array([number * step_ms])))
    return votes


def test_short_term_needs_more_than_three_of_seven() -> None:
    detector = make("short_term", {"threshold": 5.0})
    # |20 - i| for 1..7 points: three are further than 5 away, four are near.
    assert not _run(detector, [10, 10, 10, 19, 19, 19, 19, 20]).anomalous[0]
    # Four are further than 5 away.
    votes = _run(detector, [10, 10, 10, 10, 19, 19, 19, 20])
    assert votes.anomalous[0]
    assert votes.numbers["differing"][0] == 4


def test_short_term_counts_a_difference_equal_to_the_threshold_as_usual() -> None:
    assert not _run(make("short_term", {"threshold": 5.0}), [10] * 7 + [15]).anomalous[0]


def test_short_term_takes_its_direction_from_the_previous_point() -> None:
    detector = make("short_term", {"threshold": 5.0})
    # Above four of the seven, but below the previous point: a drop.
    votes = _run(detector, [0, 0, 0, 0, 30, 30, 30, 20])
    assert votes.anomalous[0]
    assert votes.direction[0] == -1


def test_short_term_cannot_judge_with_six_points() -> None:
    assert not _run(make("short_term", {"threshold": 5.0}), [1, 1, 1, 1, 1, 1, 99]).judged[0]


def test_dynamic_threshold_is_the_nearer_distance_from_mean_to_extreme() -> None:
    exact = {"window_points": 8, "blocks": 8, "min_points": 8, "floor_relative": 0.0}
    # max 20, min 10, mean (10+10+10+10+10+10+10+20)/8 = 11.25: min(8.75, 1.25) = 1.25
    votes = _run(make("short_term", exact), [20, 10, 10, 10, 10, 10, 10, 10, 10])
    assert votes.numbers["threshold"][0] == 1.25
    # One more point, and the 20 has left the window of eight: the floor remains.
    votes = _run(make("short_term", exact), [20, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    assert votes.numbers["threshold"][0] == 0.01


def test_dynamic_threshold_moves_by_whole_blocks() -> None:
    blocks = {"window_points": 8, "blocks": 2, "min_points": 8, "floor_relative": 0.0}
    values = [20.0, *[10.0] * 7]
    # Eight points are two full blocks of four; with up to three more the first block still counts.
    assert _run(make("short_term", blocks), [*values, 10.0]).numbers["threshold"][0] == 1.25
    later = _run(make("short_term", blocks), [*values, 10.0, 10.0, 10.0, 10.0])
    assert later.numbers["threshold"][0] == pytest.approx(10 / 11)
    gone = _run(make("short_term", blocks), [*values, 10.0, 10.0, 10.0, 10.0, 10.0])
    assert gone.numbers["threshold"][0] == 0.01


def test_dynamic_threshold_never_falls_below_its_floor() -> None:
    settings = {"window_points": 8, "blocks": 8, "min_points": 8, "floor_relative": 0.05}
    assert _run(make("short_term", settings), [200.0] * 9).numbers["threshold"][0] == 10.0


def test_long_term_mean_follows_the_recurrence() -> None:
    detector = make("long_term", {"a": 0.5, "min_points": 2, "settle": 1, "floor_relative": 0.0})
    # E: 4, 6 (=.5*8+.5*4), 5 (=.5*4+.5*6); residuals 8-4=4, 4-6=-2: sigma = sqrt((16+4)/2)
    votes = _run(detector, [4, 8, 4, 100])
    assert votes.numbers["mean"][0] == 5.0
    assert votes.numbers["sigma"][0] == pytest.approx(math.sqrt(10))
    assert votes.numbers["limit"][0] == pytest.approx(3 * math.sqrt(10))
    assert votes.anomalous[0]
    assert votes.direction[0] == 1


def test_long_term_weighs_a_point_with_one_in_twenty_one() -> None:
    detector = make("long_term", {"min_points": 2, "settle": 1})
    assert _run(detector, [0.0, 21.0, 0.0]).numbers["mean"][0] == pytest.approx(1.0)


def test_long_term_is_quiet_at_three_sigma_and_fires_beyond() -> None:
    settings = {"a": 0.5, "min_points": 2, "settle": 1, "floor_relative": 0.0}
    edge = 5 + 3 * math.sqrt(10)
    assert not _run(make("long_term", settings), [4, 8, 4, edge - 1e-9]).anomalous[0]
    assert _run(make("long_term", settings), [4, 8, 4, edge + 1e-9]).anomalous[0]


def _days(name: str, curves: list[list[float]], **settings: object) -> Votes:
    """The vote on the last of daily curves given at whole hours from midnight."""
    detector = make(name, dict(settings))
    state = Columns(detector.columns())
    state.grow(1)
    for day, curve in enumerate(curves):
        for hour, value in enumerate(curve):
            time_ms = day * _DAY_MS + hour * _HOUR_MS
            votes = detector.step(state, tick_of(np.array([value]), np.array([time_ms])))
    return votes


@pytest.mark.parametrize(("value", "direction"), [(79.0, -1), (81.0, 0), (143.0, 0), (145.0, 1)])
def test_chain_compares_with_the_extremes_of_the_same_hour(value: float, direction: int) -> None:
    # At hour 1 the past days had 100, 110, 120: usual is 80 to 144. Hour 0 is far away.
    votes = _days("chain", [[1000, 100], [1000, 110], [1000, 120], [1000, value]])
    assert votes.judged[0]
    assert votes.direction[0] == direction
    assert votes.numbers["lower"][0] == pytest.approx(80)
    assert votes.numbers["upper"][0] == pytest.approx(144)


def test_chain_cannot_judge_with_two_days_of_history() -> None:
    assert not _days("chain", [[100.0], [100.0], [500.0]]).judged[0]


def test_chain_forgets_what_is_older_than_its_days() -> None:
    curves = [[500.0], [100.0], [100.0], [100.0], [130.0]]
    votes = _days("chain", curves, days=3)
    assert votes.numbers["highest"][0] == 100
    assert votes.direction[0] == 1
    assert _days("chain", curves, days=4).direction[0] == 0


def test_chain_widens_the_range_of_negative_values_too() -> None:
    votes = _days("chain", [[-100.0], [-100.0], [-100.0], [-110.0]])
    assert (votes.numbers["lower"][0], votes.numbers["upper"][0]) == (-120.0, -80.0)
    assert not votes.anomalous[0]


def test_chain_knows_the_hour_in_local_time() -> None:
    detector = make("chain")
    state = Columns(detector.columns())
    state.grow(1)
    # 22:30 UTC is 00:30 of the next local day: three evenings are three local days.
    for day in range(4):
        time_ms = day * _DAY_MS + 22 * _HOUR_MS + _HOUR_MS // 2
        utc = np.array([time_ms])
        tick = tick_of(np.array([10.0]), utc, local_ms=local_ms(utc, "Etc/GMT-2"))
        votes = detector.step(state, tick)
    assert votes.numbers["days"][0] == 3


def test_amplitude_compares_steps_with_the_largest_at_the_same_hour() -> None:
    # Steps at hour 1: +10 %, +20 %, +10 %; A = 0.2, usual up to 0.3.
    history = [[100.0, 110.0], [100.0, 120.0], [100.0, 110.0]]
    assert not _days("amplitude", [*history, [100.0, 129.0]]).anomalous[0]
    votes = _days("amplitude", [*history, [1000.0, 600.0]])
    assert votes.anomalous[0]
    assert votes.direction[0] == -1
    assert votes.numbers["amplitude"][0] == pytest.approx(-0.4)
    assert votes.numbers["largest"][0] == pytest.approx(0.2)
    assert votes.numbers["limit"][0] == pytest.approx(0.3)


def test_amplitude_sees_a_dip_on_a_high_day_that_chain_misses() -> None:
    curves = [[100.0, 100.0]] * 3 + [[200.0, 100.0]]
    assert not _days("chain", curves).anomalous[0]
    assert _days("amplitude", curves).direction[0] == -1


def test_amplitude_cannot_judge_a_step_from_zero() -> None:
    assert not _days("amplitude", [[0.0, 5.0]] * 5).judged[0]


@pytest.mark.parametrize(
    ("points", "path"),
    [(0, 0.0), (1, 0.0), (2, 1.0), (100, 2 * (math.log(99) + 0.5772156649) - 1.98)],
)
def test_expected_path_of_an_isolation_tree(points: int, path: float) -> None:
    assert expected_path(np.array([points]))[0] == pytest.approx(path)


def test_isolation_forest_scores_an_outlier_above_the_middle() -> None:
    detector = make("isolation_forest", {"rebuild_every": 1})
    rng = np.random.default_rng(1)
    values = [*rng.normal(50, 1, 200)]
    middle, outlier = _run(detector, [*values, 50.0]), _run(detector, [*values, 90.0])
    assert not middle.anomalous[0]
    assert outlier.anomalous[0]
    assert outlier.numbers["score"][0] > middle.numbers["score"][0] + 0.1


def test_a_tree_isolates_two_points_with_one_cut() -> None:
    detector = make("isolation_forest", {"samples": 2, "window": 2, "trees": 1, "rebuild_every": 1})
    # Two points, one cut: each leaf holds one, path 1, c(2) = 1, so the score is 2^-1.
    assert _run(detector, [0.0, 10.0, 10.0]).numbers["score"][0] == pytest.approx(0.5)


def test_threshold_fires_on_its_side_only() -> None:
    detector = make("threshold")
    state = Columns([])
    tick = tick_of(
        np.array([91.0, 90.0, 9.0, 11.0, 5.0]),
        np.zeros(5, dtype=np.int64),
        limit=np.array([90.0, 90.0, 10.0, 10.0, np.nan]),
        above=np.array([True, True, False, False, True]),
    )
    votes = detector.step(state, tick)
    assert votes.anomalous.tolist() == [True, False, True, False, False]
    assert votes.direction.tolist() == [1, 0, -1, 0, 0]
    assert votes.judged.tolist() == [True, True, True, True, False]
