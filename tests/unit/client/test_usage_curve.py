"""Tests of what is kept of a member's use: all of its life, within a bounded size."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.usage_curve import FIRST_EVERY_S, MAX_POINTS, UsageCurve

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def curve_of(told: list[tuple[float, float, int]]) -> UsageCurve:
    curve = UsageCurve(job_id="a", member="worker-0")
    at = BEGIN
    for after, cores, memory in told:
        at += timedelta(seconds=after)
        curve = curve.measured(at, cores, memory)
    return curve


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(0, 64), st.integers(0, 2**40)),
        min_size=1,
        max_size=400,
    )
)
def test_any_life_is_kept_whole_within_bounds(told: list[tuple[float, float, int]]) -> None:
    curve = curve_of(told)
    assert len(curve.points) <= MAX_POINTS
    times = [point.at_s for point in curve.points]
    assert times == sorted(set(times))
    assert sum(point.measurements for point in curve.points) == len(told)
    assert max(point.memory_bytes for point in curve.points) == max(each[2] for each in told)
    mean = sum(point.cpu_cores * point.measurements for point in curve.points) / len(told)
    assert mean == pytest.approx(sum(each[1] for each in told) / len(told), abs=0.01 * len(told))
    assert [point for run in curve.runs() for point in run] == list(curve.points)
    assert UsageCurve.model_validate_json(curve.model_dump_json()) == curve


def test_a_week_is_kept_in_steps_that_grow_and_a_pause_is_a_gap() -> None:
    week = [(float(FIRST_EVERY_S), 1.0, 100)] * 6 * 60 * 24
    curve = curve_of([*week, (6 * 3600.0, 2.0, 50)])
    assert MAX_POINTS / 2 <= len(curve.points) <= MAX_POINTS
    assert [len(run) for run in curve.runs()][-1] == 1


def test_memory_grows_only_where_it_grew_to_the_end() -> None:
    rising = [(10.0, 1.0, n * 2**20) for n in range(60)]
    assert curve_of(rising).memory_growth() == pytest.approx(6 * 2**20, rel=0.05)
    assert curve_of([*rising, *[(10.0, 1.0, 60 * 2**20)] * 60]).memory_growth() == 0
    assert curve_of(rising[:2]).memory_growth() == 0
