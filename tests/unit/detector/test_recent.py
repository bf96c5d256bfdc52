import math

import numpy as np
import pytest

from services.detector.recent import Recent


@pytest.mark.parametrize("value", [1.7976931348623157e308, -3.5e38, 3.4e38, 0.0])
def test_every_value_can_be_told_in_an_event(value: float) -> None:
    recent = Recent(4)
    recent.state.grow(1)
    recent.add(np.array([0]), np.array([1_700_000_000_000]), np.array([value]))
    (point,) = recent.points(0)
    assert math.isfinite(point.value)
    assert math.copysign(1, point.value) == math.copysign(1, value)


def test_a_point_without_a_value_is_left_out() -> None:
    recent = Recent(4)
    recent.state.grow(1)
    recent.add(np.array([0]), np.array([1_700_000_000_000]), np.array([np.nan]))
    assert recent.points(0) == ()


def test_a_ring_keeps_the_newest_points_and_their_exact_times() -> None:
    recent = Recent(4)
    recent.state.grow(2)
    times = [1_700_000_000_000 + at * 86_400_000 + at for at in range(7)]
    for at, time_ms in enumerate(times):
        recent.add(np.array([1]), np.array([time_ms]), np.array([float(at)]))
    assert [(point.time_ms, point.value) for point in recent.points(1)] == [
        (times[at], float(at)) for at in range(3, 7)
    ]
    assert recent.points(0) == ()


def test_points_before_a_gap_of_months_are_in_no_plot_with_those_after_it() -> None:
    recent = Recent(8)
    recent.state.grow(1)
    for time_ms in (1_700_000_000_000, 1_700_000_060_000, 1_710_000_000_000, 1_710_000_060_000):
        recent.add(np.array([0]), np.array([time_ms]), np.array([1.0]))
    assert [point.time_ms for point in recent.points(0)] == [1_710_000_000_000, 1_710_000_060_000]


def test_a_snapshot_of_times_is_taken_and_its_plot_begins_again() -> None:
    recent = Recent(4)
    old = {
        "time_ms": np.full((1, 4), 1_700_000_000_000),
        "value": np.ones((1, 4), dtype=np.float32),
        "added": np.array([9]),
    }
    recent.state.restore(old, 1)
    assert recent.points(0) == ()
    recent.add(np.array([0]), np.array([1_700_000_300_000]), np.array([2.0]))
    assert [point.value for point in recent.points(0)] == [2.0]
