"""Clocks that are set by an hour, forth and back, while a remediation holds its target."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.actions import leases
from services.healer.model.action import LEASES, Lease
from shared.contracts import ItemRead, RemediationExecute
from tests.unit.healer.test_acting import APPROVE, Desk, changes, decide
from tests.unit.healer.test_incidents import executed, observed, only

HOUR = 3600.0


def acting() -> tuple[Desk, RemediationExecute]:
    """A healer whose order for a target is under way."""
    desk = Desk(APPROVE)
    action_id, _ = desk.propose()
    desk.later(1)
    return desk, only(desk.take(decide(action_id)), RemediationExecute)


def lease(desk: Desk) -> Lease:
    with desk.store.transaction() as records:
        (found,) = records.find(LEASES)
        return found


def left_s(desk: Desk) -> float:
    return (lease(desk).until - desk.now).total_seconds()


@pytest.mark.parametrize("step", [HOUR, -HOUR, 3 * HOUR, -3 * HOUR])
def test_an_hour_frees_no_target_early_and_holds_none_longer(step: float) -> None:
    desk, _ = acting()
    before = left_s(desk)
    desk.now += timedelta(seconds=step)
    assert desk.later(1) == []
    assert lease(desk).held
    assert before - 2 <= left_s(desk) <= before

    # Nobody answers: the action ends when it would have, and with it the lease.
    changed = []
    waited = 0.0
    while lease(desk).held:
        changed += changes(desk.later(10))
        waited += 10
        assert waited <= before + 20
    assert "failed" in changed


@given(st.lists(st.sampled_from([HOUR, -HOUR, 600.0, -600.0]), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_any_steps_together_leave_the_time_that_is_left(steps: list[float]) -> None:
    desk, _ = acting()
    before, passed = left_s(desk), 0.0
    for step in steps:
        desk.now += timedelta(seconds=step)
        desk.later(1)
        passed += 1
        assert lease(desk).held
    assert abs(before - passed - left_s(desk)) <= 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_an_answer_after_a_step_is_taken_and_verified(step: float) -> None:
    desk, order = acting()
    desk.now += timedelta(seconds=step)
    desk.later(1)
    desk.take(executed(order))
    answers = desk.take(observed(only(desk.later(5), ItemRead), 20.0))
    assert changes(answers) == ["verified"]
    assert not lease(desk).held


def test_an_alarm_between_a_step_and_the_look_at_the_clock_finds_the_target_held() -> None:
    desk, _ = acting()
    desk.now += timedelta(seconds=HOUR)
    found = lease(desk)
    with desk.store.transaction() as records:
        assert leases.holder(found.target, records) == found.action_id


def test_a_healer_that_was_away_for_an_hour_takes_that_hour_for_time() -> None:
    desk, _ = acting()
    desk.later(HOUR)
    assert not lease(desk).held
