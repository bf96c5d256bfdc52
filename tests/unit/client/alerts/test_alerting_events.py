"""Silences and rules: the healer's events, and what the client keeps of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.client.alerts import alerting
from services.client.alerts import model as bounds
from services.client.alerts.model import AlertModel
from services.client.main import _OF_ALERTS
from services.healer.correlation.mining import Pair
from services.healer.correlation.rules import RULES, Rule
from services.healer.health.records import keep
from services.healer.model.action import SWITCHES
from services.healer.notify.silences import SILENCES, Silence
from services.healer.people import alerting_news
from services.healer.remediations import kill_switch
from shared.contracts import (
    AlertingAsk,
    AlertingReported,
    CorrelationChanged,
    HealingResume,
    HealingStop,
    HealingSwitched,
    HealthReported,
    Message,
    SilenceChanged,
)
from shared.contracts.correlation import RuleState
from shared.service import Context
from shared.store import Store
from tests.unit.client.alerts.events import an_id

NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
WEEKLY = {"rule": "FREQ=WEEKLY;BYDAY=SU", "first": "2026-01-04T22:00", "duration_s": 7200}


def silence(name: str, **changes: Any) -> Silence:
    fields = {
        "silence_id": name,
        "matchers": [f'host="{name}"'],
        "starts_at": NOW - timedelta(minutes=1),
        "ends_at": NOW + timedelta(hours=2),
        "owner": "Ann",
        "reason": "moved",
    }
    return Silence.model_validate(fields | changes)


def rule(number: int, sequence: int = 1, state: RuleState = RuleState.PROPOSED) -> Rule:
    pair = Pair("disk.io", "http.latency", 0.1, 0.9, 4.0, 90.0, 23, 99)
    return Rule(rule_id=an_id(number), sequence=sequence, state=state, scope="machine", pair=pair)


class Healer:
    """Its store, and the events it publishes of what is in it."""

    def __init__(self) -> None:
        self.store, self.now = Store("sqlite://"), NOW
        self.windows: list[Silence] = []

    def do(self, action: Callable[[Context], Iterable[Message]]) -> list[Message]:
        with self.store.transaction() as records:
            return list(action(Context(self.now, "", 1, records)))

    def put(self, *found: Silence | Rule) -> None:
        with self.store.transaction() as records:
            for each in found:
                if isinstance(each, Silence):
                    records.put(SILENCES, each)
                else:
                    records.put(RULES, each)

    def passed(self) -> list[Message]:
        return self.do(lambda ctx: alerting_news.unpublished(self.windows, ctx))

    def changes(self) -> list[SilenceChanged]:
        return [each for each in self.passed() if isinstance(each, SilenceChanged)]

    def asked(self) -> list[Message]:
        return self.do(lambda ctx: alerting_news.asked(AlertingAsk(at=self.now), ctx))


class Client:
    """The read model of one or more replicas, which share a store."""

    def __init__(self) -> None:
        self.store, self.now = Store("sqlite://"), NOW
        self.model = AlertModel(self.store)

    def hear(self, *messages: Message) -> list[Message]:
        answers: list[Message] = []
        for message in messages:
            with self.store.transaction() as records:
                context = Context(self.now, "m", 1, records)
                answers += _OF_ALERTS[type(message)](message, context)
        return answers

    def silences(self) -> dict[str, SilenceChanged]:
        return {each.silence_id: each for each in self.model.alerting.silences()}


@pytest.fixture
def healer() -> Healer:
    return Healer()


def test_a_silence_is_published_when_it_is_made_changed_and_ended_and_not_again(
    healer: Healer,
) -> None:
    healer.put(silence("h1"), silence("over", ends_at=NOW - timedelta(seconds=1)))
    (made,) = healer.changes()
    assert (made.silence_id, made.matchers, made.owner) == ("h1", ('host="h1"',), "Ann")
    healer.now += timedelta(minutes=1)
    assert healer.changes() == []
    healer.put(silence("h1", reason="longer"))
    (changed,) = healer.changes()
    healer.now += timedelta(minutes=1)
    healer.put(silence("h1", ends_at=healer.now))
    (ended,) = healer.changes()
    assert made.sequence < changed.sequence < ended.sequence
    assert (changed.reason, ended.ends_at <= ended.at) == ("longer", True)
    healer.now += timedelta(days=2)
    assert healer.changes() == []
    assert healer.do(lambda ctx: ctx.records.find(alerting_news.PUBLISHED)) == []


def test_an_id_used_again_after_its_silence_was_forgotten_is_newer_than_before(
    healer: Healer,
) -> None:
    healer.put(silence("h1"))
    (first,) = healer.changes()
    healer.now += timedelta(days=2)
    healer.passed()
    healer.put(silence("h1", ends_at=healer.now + timedelta(hours=1)))
    (again,) = healer.changes()
    assert again.sequence > first.sequence


def test_the_windows_of_a_rule_are_published_for_two_weeks_and_anew_each_day(
    healer: Healer,
) -> None:
    lasting = {"recurrence": WEEKLY, "ends_at": NOW + timedelta(days=90)}
    healer.put(silence("h1", **lasting))
    (today,) = healer.changes()
    assert [f"{each.begin:%d %H}" for each in today.windows] == ["11 22", "18 22"]
    healer.now += timedelta(days=1)
    healer.passed()
    healer.now += timedelta(days=6)
    (later,) = healer.changes()
    assert [f"{each.begin:%d %H}" for each in later.windows] == ["18 22", "25 22"]
    assert later.sequence > today.sequence


def test_a_window_of_the_settings_is_published_and_ends_when_it_is_taken_out(
    healer: Healer,
) -> None:
    healer.windows = [silence("nightly", ends_at=NOW + timedelta(days=90))]
    (made,) = healer.changes()
    healer.windows = []
    healer.now += timedelta(hours=1)
    (ended,) = healer.changes()
    assert (made.configured, made.ends_at > made.at) == (True, True)
    assert (ended.configured, ended.ends_at) == (True, healer.now)
    assert healer.changes() == []


def story() -> list[Message]:
    """What a healer publishes of two silences and a rule that change."""
    healer = Healer()
    told = []
    for minute in range(4):
        healer.now = NOW + timedelta(minutes=minute)
        healer.put(silence("h1", reason=f"reason {minute}"))
        healer.put(rule(1, sequence=minute + 1, state=list(RuleState)[minute % 3]))
        if minute == 1:
            healer.put(silence("h2"))
        told += healer.passed() + healer.asked()
    return told


STORY = story()


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_and_number_of_deliveries_ends_in_the_newest_of_each(
    chance: random.Random,
) -> None:
    heard = [*STORY, *chance.sample(STORY, 5)]
    chance.shuffle(heard)
    client = Client()
    client.hear(*heard)
    newest = {e.silence_id: e.sequence for e in STORY if isinstance(e, SilenceChanged)}
    assert {name: each.sequence for name, each in client.silences().items()} == newest
    assert client.silences()["h1"].reason == "reason 3"
    (kept,) = client.model.alerting.rules()
    rules = [each for each in STORY if isinstance(each, CorrelationChanged)]
    assert (kept.sequence, kept.state) == (rules[-1].sequence, rules[-1].state)
    report = client.model.alerting.report()
    assert report is not None
    assert report.at == max(each.at for each in STORY if isinstance(each, AlertingReported))


def test_a_client_that_missed_something_asks_for_all_of_it_once_and_has_it_then(
    healer: Healer,
) -> None:
    healer.put(silence("h1"), rule(1), rule(2, state=RuleState.RETIRED))
    healer.passed()
    client = Client()
    (asked,) = client.hear(*healer.passed())
    assert isinstance(asked, AlertingAsk)
    healer.now = client.now = NOW + timedelta(minutes=1)
    assert client.hear(*healer.passed()) == [], "the answer may still be on its way"
    healer.now = client.now = NOW + timedelta(minutes=2)
    assert client.hear(*healer.asked()) == []
    assert list(client.silences()) == ["h1"]
    assert [each.rule_id for each in client.model.alerting.rules()] == [an_id(1)]
    for minute in range(3, 40):
        healer.now = client.now = NOW + timedelta(minutes=minute)
        assert client.hear(*healer.passed()) == [], "nothing is missing"


def test_an_answer_that_does_not_come_is_asked_for_again_after_a_while(healer: Healer) -> None:
    healer.put(silence("h1"))
    healer.passed()
    client = Client()
    asked = []
    for minute in range(25):
        healer.now = client.now = NOW + timedelta(minutes=minute)
        asked += client.hear(*healer.passed())
    assert [each.at for each in asked if isinstance(each, AlertingAsk)] == [
        NOW + timedelta(minutes=minute) for minute in (0, 10, 20)
    ]


def test_a_silence_that_is_over_on_both_sides_is_no_difference(healer: Healer) -> None:
    client = Client()
    healer.put(silence("h1", ends_at=NOW + timedelta(minutes=1)))
    (asked,) = client.hear(*healer.passed())
    assert isinstance(asked, AlertingAsk), "the first report of all: health is to be asked for"
    client.now += timedelta(hours=1)  # it may ask again
    for _ in range(3):
        healer.now += timedelta(minutes=1)
        assert client.hear(*healer.passed()) == []


def test_what_a_person_made_shows_at_once_and_its_late_event_changes_nothing(
    healer: Healer,
) -> None:
    client = Client()
    (made,) = healer.do(lambda ctx: [alerting_news.changed(silence("h1"), ctx)])
    healer.now += timedelta(seconds=1)
    over = silence("h1", ends_at=healer.now)
    (ended,) = healer.do(lambda ctx: [alerting_news.changed(over, ctx)])
    assert isinstance(made, SilenceChanged)
    assert isinstance(ended, SilenceChanged)
    client.model.alerting.take(made)
    client.model.alerting.take(ended)
    client.hear(made)
    assert client.silences()["h1"].ends_at == ended.ends_at


def test_no_more_of_them_are_kept_than_is_allowed(
    healer: Healer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_KEPT", ((alerting.RULES, None, 2),))
    monkeypatch.setattr(bounds, "MAX_SILENCES", 3)
    healer.put(*(silence(f"h{n}") for n in range(9)), *(rule(n) for n in range(9)))
    client = Client()
    client.hear(*healer.passed(), *healer.asked())
    client.model.prune(NOW)
    assert (len(client.silences()), len(client.model.alerting.rules())) == (3, 2)
    client.model.prune(NOW + timedelta(days=60))
    assert client.silences() == {}


def test_silences_that_have_ended_push_out_none_that_is_in_force(
    healer: Healer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MAX_SILENCES", 3)
    client = Client()
    healer.put(silence("lasting", ends_at=NOW + timedelta(days=20)))
    client.hear(*healer.passed())
    for number in range(9):
        healer.put(silence(f"short-{number}", ends_at=healer.now + timedelta(minutes=1)))
        client.hear(*healer.passed())
        healer.now += timedelta(hours=1)
    client.model.prune(healer.now)
    assert "lasting" in client.silences()


def test_a_healer_restored_from_a_backup_is_believed_although_it_knows_less(
    healer: Healer,
) -> None:
    healer.put(silence("h1", ends_at=NOW + timedelta(days=9)), rule(1))
    stop = HealingStop(switch_id=an_id(1), hosts="web-*", by="Ann", at=NOW)
    with healer.store.transaction() as records:
        kill_switch.stop(stop, SWITCHES, records, NOW)
    client = Client()
    client.hear(*healer.passed())
    client.hear(*healer.asked())
    assert client.model.machines.stopped()

    restored = Healer()
    restored.put(silence("older", ends_at=NOW + timedelta(days=9)))
    with restored.store.transaction() as records:
        published = alerting_news.changed(
            silence("h1", ends_at=NOW + timedelta(days=9), reason="before"),
            Context(NOW - timedelta(days=1), "", 1, records),
        )
    restored.put(silence("h1", ends_at=NOW + timedelta(days=9), reason="before"))
    for minute in range(1, 14):
        restored.now = client.now = NOW + timedelta(minutes=minute)
        if client.hear(*restored.passed()):
            assert client.hear(*restored.asked()) == []
    known = {name: each.reason for name, each in client.silences().items()}
    assert known == {"h1": "before", "older": "moved"}
    assert client.silences()["h1"].sequence == published.sequence
    assert client.model.alerting.rules() == []
    assert client.model.machines.stopped() == []
    restored.now = client.now = NOW + timedelta(hours=2)
    assert client.hear(*restored.passed()) == [], "both agree"


def test_a_difference_that_comes_and_goes_makes_nothing_be_forgotten(healer: Healer) -> None:
    client = Client()
    healer.put(silence("h1", ends_at=NOW + timedelta(days=9)))
    for minute in range(2):
        healer.now = client.now = NOW + timedelta(minutes=minute)
        client.hear(*healer.passed())
        client.hear(*healer.asked())
    for hour in range(1, 5):
        healer.now = client.now = NOW + timedelta(hours=hour)
        healer.put(silence(f"late-{hour}", ends_at=NOW + timedelta(days=9)))
        changed, report = healer.passed()
        assert client.hear(report), "the report overtakes the change"
        assert "h1" in client.silences()
        client.hear(changed)
        healer.now = client.now = healer.now + timedelta(minutes=1)
        assert client.hear(*healer.passed()) == []


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_a_healer_whose_clock_was_ahead_for_a_moment_is_heard_again(
    healer: Healer, ahead: timedelta
) -> None:
    def reported(at: datetime, score: float) -> list[Message]:
        health = {"name": "h7", "score": score, "verdict": "watch", "terms": (), "at": at}
        switch = {"switch_id": an_id(round(score)), "hosts": "web-*", "by": "Ann", "at": at}
        switched = HealingSwitched.model_validate(switch | {"stopped": score < 50})
        healer.now = at
        return [HealthReported.model_validate(health), switched, *healer.passed()]

    client = Client()
    client.hear(*reported(NOW + ahead, 61.0))
    client.now = NOW + timedelta(minutes=2)
    client.hear(*reported(client.now, 41.0))
    health, report = client.model.machines.report_of("h7"), client.model.alerting.report()
    assert health is not None
    assert report is not None
    assert (health.score, report.at) == (41.0, client.now)
    assert [each.hosts for each in client.model.machines.stopped()] == ["web-*"]


def test_the_reports_of_machines_and_the_stops_come_with_the_answer(healer: Healer) -> None:
    fields = {"name": "h7", "score": 61.0, "verdict": "watch", "terms": (), "at": NOW}
    health = HealthReported.model_validate(fields)
    stop = HealingStop(switch_id=an_id(1), hosts="web-*", by="Ann", at=NOW)
    resume = HealingResume(switch_id=an_id(2), hosts="db-*", by="Ann", at=NOW)
    with healer.store.transaction() as records:
        keep(records, [health])
        kill_switch.stop(stop, SWITCHES, records, NOW)
        kill_switch.resume(resume, SWITCHES, records, NOW)
    client = Client()
    client.hear(HealingSwitched(switch_id=an_id(3), hosts="db-*", stopped=True, by="B", at=EARLIER))
    assert client.hear(*healer.passed())
    client.hear(*healer.asked())
    assert client.model.machines.report_of("h7") == health
    assert [each.hosts for each in client.model.machines.stopped()] == ["web-*"]
    healer.now = client.now = NOW + timedelta(hours=1)
    assert client.hear(*healer.passed()) == []
    client.model.prune(NOW + timedelta(days=40))
    assert client.model.machines.report_of("h7") is None


def test_the_reports_that_are_read_again_are_the_newest_of_machines_and_of_groups() -> None:
    def report(name: str, at: datetime, scope: str = "machine") -> HealthReported:
        fields = {"name": name, "score": 61.0, "verdict": "watch", "terms": (), "at": at}
        return HealthReported.model_validate(fields | {"scope": scope})

    client = Client()
    machines = client.model.machines
    first, other, group = report("h1", NOW), report("h2", NOW), report("web", NOW, "group")
    client.hear(first, other, group)
    assert machines.reports() == ([first, other], [group])
    later = report("h1", NOW + timedelta(minutes=1))
    client.hear(later)
    read, _ = machines.reports()
    assert sorted(read, key=lambda each: each.name) == [later, other]
    client.model.prune(NOW + timedelta(days=60))
    assert machines.reports() == ([], [])
