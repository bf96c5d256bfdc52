"""Clocks that are set by an hour, forth and back, while a remediation holds its target."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.healer.actions import leases
from services.healer.model.action import LEASES, Lease
from services.healer.model.notification import CHANNEL_FAILURES, ChannelFailure
from shared.contracts import ItemRead, RemediationExecute
from shared.service import Context
from shared.store import StoreUnavailable
from tests.unit.healer.test_acting import APPROVE, Desk, changes, decide
from tests.unit.healer.test_alerting import over, put, silence, trouble
from tests.unit.healer.test_delivering import Post
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
def test_a_channel_that_fails_for_a_moment_is_not_out_of_reach_for_an_hour(step: float) -> None:
    desk = Desk(APPROVE)
    desk.later(1)
    with desk.store.transaction() as records:
        failure = ChannelFailure(recipient="mail a@example.org", since=desk.now)
        records.put(CHANNEL_FAILURES, failure)
    desk.now += timedelta(seconds=step)
    desk.later(1)
    with desk.store.transaction() as records:
        (found,) = records.find(CHANNEL_FAILURES)
    assert timedelta() <= desk.now - found.since <= timedelta(seconds=10)


def test_what_a_silence_held_is_notified_when_the_clock_is_set_to_before_the_silence() -> None:
    desk = Desk()
    put(desk, silence())
    desk.take(trouble())
    desk.later(60)
    assert desk.mails() == []
    desk.now -= timedelta(hours=1)
    desk.later(60)
    assert [mail.kind for mail in desk.mails()] == ["firing"]


def test_a_step_whose_transaction_fails_is_found_again() -> None:
    desk, _ = acting()
    desk.later(1)
    before = left_s(desk)
    desk.now += timedelta(seconds=HOUR)
    desk.uptime += 1
    with suppress(StoreUnavailable), desk.store.transaction() as records:
        desk.handlers.expiry.clock(Context(desk.now, "", 1, records))
        raise StoreUnavailable
    assert desk.later(1) == []
    assert lease(desk).held
    assert before - 3 <= left_s(desk) <= before


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


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("pause", [10.0, 40.0])
def test_replicas_that_take_turns_handle_one_step_once(step: float, pause: float) -> None:
    desk, _ = acting()
    first = desk.handlers
    desk.later(1)
    desk.start()
    second = desk.handlers
    desk.later(1)
    before, passed = left_s(desk), 0.0
    desk.now += timedelta(seconds=step)
    for replica in (first, second, first, second):
        desk.handlers = replica
        desk.later(pause)
        passed += pause
        assert lease(desk).held
        assert abs(before - passed - left_s(desk)) <= 1


def test_a_healer_that_was_away_for_an_hour_takes_that_hour_for_time() -> None:
    desk, _ = acting()
    desk.later(HOUR)
    assert not lease(desk).held


class _Killed(BaseException):
    """Ends a process in the middle of what it does; no ``except Exception`` of ours sees it."""


@pytest.mark.parametrize("taken", [False, True], ids=["before it was taken", "after it was taken"])
@pytest.mark.parametrize("step", [0.0, HOUR, -HOUR])
def test_a_leader_killed_while_it_sends_leaves_its_notice_to_the_next_whatever_the_clock_does(
    step: float, taken: bool
) -> None:
    post = Post()
    for host in ("web1", "web2"):
        post.desk.take(trouble(host))
    post.desk.later(1)

    def dies(message_id: str) -> None:
        if taken:
            post.other.taken.append(message_id)
        raise _Killed

    post.other.answer = dies
    with pytest.raises(_Killed):
        post.replica().run()
    post.other.answer = lambda _id: None
    post.desk.now += timedelta(seconds=step)
    post.desk.start()
    successor, waited_s = post.replica(), 0
    while post.statuses() != {"sent": 2}:
        post.desk.later(10)
        successor.run()
        waited_s += 10
        assert waited_s <= 200, "it waits longer than the lease of who was killed"
    assert set(post.other.taken) == {notice.message_id for notice in post.desk.notices()}
    # What was taken just before the kill comes once more, under the id by which it is known.
    assert len(post.other.taken) == (3 if taken else 2)


@given(st.lists(st.sampled_from([HOUR, -HOUR, 600.0, -600.0, 0.0]), max_size=6))
@settings(max_examples=25, deadline=None)
def test_an_alarm_is_told_once_and_ends_once_over_kills_and_steps(steps: list[float]) -> None:
    # Steps forward that nobody saw are time that passed, after which people would be reminded.
    desk, alarm = Desk(repeat_interval_s=0), trouble("web1")
    desk.take(alarm)
    desk.later(1)
    for step in steps:
        desk.now += timedelta(seconds=step)
        desk.start()
        desk.take(alarm)  # the broker delivers again what was not acknowledged
        desk.later(5)
    desk.take(over(alarm))
    desk.start()
    desk.take(over(alarm))
    desk.later(60)  # a step is noticed some seconds later, and moments move by that much less
    assert [mail.kind for mail in desk.mails()] == ["firing", "resolved"]
