"""The kill switch in the hands of a program on the broker, or of somebody whose clock is wrong."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from services.healer.agent import handlers
from services.healer.agent.records import HALTS
from services.healer.model.action import SWITCHES, stopped
from services.healer.remediations import kill_switch
from shared.contracts import HealingResume, HealingStop, HealingSwitched
from shared.service import Context
from shared.store import Store
from tests.unit.healer.test_acting import APPROVE, NOW, Desk, stop
from tests.unit.healer.test_incidents import only

FUTURES = [timedelta(hours=1), timedelta(days=400), datetime.max.replace(tzinfo=UTC) - NOW]


class Machine:
    """A node agent's part of the switch."""

    def __init__(self) -> None:
        self.store = Store("sqlite://")

    def use(self, message: HealingStop | HealingResume, now: datetime) -> None:
        with self.store.transaction() as records:
            ctx = Context(now, "", 1, records)
            if isinstance(message, HealingStop):
                handlers.healing_stop(message, ctx, host="host1")
            else:
                handlers.healing_resume(message, ctx, host="host1")

    @property
    def halts(self) -> list[str]:
        with self.store.reading() as records:
            return [each.hosts for each in records.find(HALTS)]


class Healing:
    """The healer's part of it."""

    def __init__(self) -> None:
        self.desk = Desk(APPROVE)

    def use(self, message: HealingStop | HealingResume, now: datetime) -> None:
        self.desk.now = now
        self.desk.take(message)

    @property
    def halts(self) -> list[str]:
        with self.desk.store.transaction() as records:
            found = [each.hosts for each in records.find(SWITCHES)]
            assert bool(stopped(records, "host1")) is bool(found)
            return found


def resume(at: datetime) -> HealingResume:
    return HealingResume(switch_id=str(uuid.uuid4()), by="ann", at=at)


@pytest.fixture(params=[Healing, Machine])
def switch(request: pytest.FixtureRequest) -> Healing | Machine:
    made: Healing | Machine = request.param()
    return made


@pytest.mark.parametrize("ahead", FUTURES)
def test_a_stop_from_the_future_is_revoked_by_a_person_now(
    switch: Healing | Machine, ahead: timedelta
) -> None:
    switch.use(stop(at=NOW + ahead), NOW)
    assert switch.halts == ["*"]
    later = NOW + timedelta(minutes=2)
    switch.use(resume(later), later)
    assert switch.halts == []


@pytest.mark.parametrize("ahead", FUTURES)
def test_a_stop_holds_although_a_revocation_came_from_a_clock_that_was_ahead(
    switch: Healing | Machine, ahead: timedelta
) -> None:
    switch.use(resume(NOW + ahead), NOW)
    later = NOW + timedelta(minutes=2)
    switch.use(stop(at=later), later)
    assert switch.halts == ["*"]


@pytest.mark.parametrize("ahead", FUTURES)
def test_a_later_stop_by_another_person_names_that_person(ahead: timedelta) -> None:
    healing = Healing()
    healing.use(stop(at=NOW + ahead), NOW)
    later = NOW + timedelta(minutes=2)
    said = HealingStop(switch_id=str(uuid.uuid4()), by="ann", reason="mine", at=later)
    healing.use(said, later)
    with healing.desk.store.transaction() as records:
        assert stopped(records, "host1") == "ann (mine)"


def test_patterns_without_end_stop_everything_and_are_not_all_kept(
    switch: Healing | Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "MAX_PATTERNS", 5)
    for number in range(20):
        switch.use(stop(f"host1{'*' * (number + 1)}"), NOW)
    assert len(switch.halts) == 6
    assert "*" in switch.halts
    later = NOW + timedelta(minutes=1)
    for hosts in switch.halts:
        again = HealingResume(switch_id=str(uuid.uuid4()), hosts=hosts, by="ann", at=later)
        switch.use(again, later)
    assert switch.halts == []


def test_that_everything_was_resumed_later_than_one_stop_too_many_does_not_revoke_it(
    switch: Healing | Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "MAX_PATTERNS", 2)
    later = NOW + timedelta(minutes=2)
    switch.use(stop(at=NOW), NOW)
    switch.use(resume(later), later)
    for pattern in ("host1*", "host1**", "host1***", "host1****"):
        switch.use(stop(pattern, NOW), later)
    assert switch.halts == ["host1*", "host1**", "*"]


def test_a_stop_that_was_revoked_stops_nothing_when_it_is_delivered_late_and_beyond_the_bound(
    switch: Healing | Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "MAX_PATTERNS", 2)
    later = NOW + timedelta(minutes=2)
    revoked = HealingResume(switch_id=str(uuid.uuid4()), hosts="host1?", by="ann", at=later)
    for message in (stop("host1*"), stop("host1**"), revoked, stop("host1?")):
        switch.use(message, later)
    assert switch.halts == ["host1*", "host1**"]


def test_everything_is_stopped_in_its_own_words_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kill_switch, "MAX_PATTERNS", 1)
    desk = Desk(APPROVE)
    desk.take(stop("web-*"))
    said = only(desk.take(stop()), HealingSwitched)
    assert (said.hosts, said.reason) == ("*", "test")


def test_it_is_said_that_everything_is_stopped_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_switch, "MAX_PATTERNS", 1)
    desk = Desk(APPROVE)
    desk.take(stop("web-*"))
    said = only(desk.take(stop("db-*")), HealingSwitched)
    assert (said.hosts, said.stopped) == ("*", True)
    assert said.reason == "db-* was to be stopped, beside 1 patterns of machines"
