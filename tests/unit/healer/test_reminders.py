"""What nobody acknowledges is said again; whom it called hears what became of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import DELIVERIES, NOTIFICATION_STATES
from services.healer.notify.channels import Tools
from services.healer.notify.channels.pagerduty import PagerDuty
from services.healer.notify.channels.webhook import Webhook
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import title
from services.healer.people.why import story
from shared.contracts import AnomalyDetected
from shared.contracts.alerts import Severity
from shared.service import Context
from tests.unit.healer.test_alerting import (
    PAGER,
    RULE,
    STEPS,
    do,
    kinds,
    over,
    put,
    silence,
    trouble,
)
from tests.unit.healer.test_incidents import DISK, NOW, Desk, anomaly, cleared, prediction

HOURS = 3600.0
CRITICAL_ONLY = Webhook.model_validate(
    {"name": "critical", "url": "http://x/", "min_severity": "critical"}
)


def notices_to(desk: Desk, channel: str) -> list[Notice | Summary]:
    """Return what one channel was sent, in order."""
    with desk.store.transaction() as records:
        found = [d.message_id for d in records.find(DELIVERIES) if d.channel == channel]
    return [notice for notice in desk.notices() if notice.message_id in found]


def sent(desk: Desk, channel: str) -> list[str]:
    return [notice.kind for notice in notices_to(desk, channel)]


def test_a_critical_alert_that_nobody_acknowledges_is_said_again_every_four_hours() -> None:
    desk = Desk()
    desk.take(trouble())
    assert "every 4 h until somebody acknowledges it" in desk.mails()[-1].next_step
    for _ in range(8):
        desk.later(HOURS)
    assert kinds(desk) == ["firing", "unanswered", "unanswered"]
    again = desk.mails()[-1]
    assert title(again) == (
        "[critical] not acknowledged: app.errors on host1 is 9; please acknowledge"
    )
    assert "(8 h). Nobody has acknowledged it." in plain(again)
    assert again.thread_id == desk.mails()[0].message_id
    with desk.store.transaction() as records:
        told = story(again.incident_id, (), Context(desk.now, "", 1, records))
    assert [f.fact["said"] for f in told.facts if f.kind == "notified"] == kinds(desk)
    desk.take(over(trouble()))
    desk.later(8 * HOURS)
    assert kinds(desk)[3:] == ["resolved"]


def _warning(desk: Desk) -> None:
    desk.take(trouble(severity="warning"))


def _acknowledged(desk: Desk) -> None:
    (change,) = desk.take(trouble())
    do(desk, lambda people, ctx: people.acknowledge(change.alert_id, "Ann", ctx))


def _predicted(desk: Desk) -> None:
    desk.take(prediction(revision=600))
    desk.later(16)


def _silenced(desk: Desk) -> None:
    desk.take(trouble())
    put(desk, silence(ends_at=NOW + timedelta(days=2)))


def _attached(desk: Desk) -> None:
    desk.take(trouble())
    desk.take(trouble(item="switch.up", severity="warning"))


@pytest.mark.parametrize("begin", [_warning, _acknowledged, _predicted, _silenced, _attached])
def test_nobody_is_reminded_of(begin) -> None:
    desk = Desk(inhibit=[RULE])
    begin(desk)
    before = kinds(desk)
    for _ in range(9):
        desk.later(HOURS)
    assert kinds(desk) == before


def test_people_are_reminded_of_a_cause_although_what_follows_from_it_may_be_its_cause() -> None:
    back = {"name": "back", "source": RULE["target"], "target": RULE["source"]}
    desk = Desk(inhibit=[RULE, back])
    desk.take(trouble(item="switch.up"))
    desk.take(trouble())
    assert len(desk.mails()) == 1
    for _ in range(5):
        desk.later(HOURS)
    assert kinds(desk) == ["firing", "unanswered"]
    assert desk.mails()[-1].series.item == "switch.up"


def test_an_interval_of_zero_reminds_nobody() -> None:
    desk = Desk(repeat_interval_s=0)
    desk.take(trouble())
    assert "every" not in desk.mails()[-1].next_step
    desk.later(100 * HOURS)
    assert kinds(desk) == ["firing"]


def test_people_are_reminded_of_a_machines_alerts_in_one_notice() -> None:
    desk = Desk()
    desk.take(trouble(item="a"))
    desk.later(HOURS)
    desk.take(trouble(item="b"), trouble(item="c", severity="warning"))
    desk.later(3 * HOURS)
    reminder = desk.mails()[-1]
    assert [row.series.item for row in reminder.lines()] == ["a", "b"]
    desk.later(HOURS)
    assert desk.mails()[-1] == reminder, "b was said just now"
    desk.later(3 * HOURS)
    assert [row.series.item for row in desk.mails()[-1].lines()] == ["a", "b"]


def test_it_is_said_again_when_no_step_of_escalation_is_left_and_to_whom_they_called() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    desk.take(trouble())
    desk.later(600)
    desk.later(60)
    assert sent(desk, "pager") == ["unanswered", "unanswered"]
    desk.later(4 * HOURS)
    assert sent(desk, "pager") == ["unanswered"] * 3
    assert sent(desk, "mail") == ["firing", "unanswered", "unanswered"]


def test_whom_an_escalation_called_hears_who_takes_care_of_it_and_of_its_end() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    (change,) = desk.take(trouble())
    desk.take(trouble(item="b", severity="warning"))
    desk.later(600)
    do(desk, lambda people, ctx: people.acknowledge(change.alert_id, "Ann", ctx))
    desk.take(over(trouble(item="b", severity="warning")), over(trouble()))
    assert sent(desk, "pager") == ["unanswered", "acknowledged", "resolved"]
    last = notices_to(desk, "pager")[-1]
    assert [row.series.item for row in last.lines()] == ["app.errors"], "b did not call them"
    assert len([kind for kind in kinds(desk) if kind == "resolved"]) == 2


def test_whom_an_escalation_called_hears_of_the_end_in_a_storm() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,), storm={"alerts": 4})
    desk.take(trouble())
    desk.later(600)
    desk.take(over(trouble()), *(trouble(f"h{n}") for n in range(9)))
    assert sent(desk, "pager") == ["unanswered", "resolved"]
    assert "storm" in kinds(desk)


def test_whom_no_ends_are_sent_to_gets_none() -> None:
    quiet = PAGER.model_copy(update={"resolved": False})
    desk = Desk(escalation=STEPS, channels=(quiet,))
    desk.take(trouble())
    desk.later(600)
    desk.take(over(trouble()))
    assert sent(desk, "pager") == ["unanswered"]


def test_the_end_of_an_alarm_is_told_to_those_who_heard_of_it_as_critical() -> None:
    alarm: AnomalyDetected = anomaly(DISK, 1)
    strange = anomaly(DISK, 2, Severity.WARNING)
    desk = Desk(channels=(CRITICAL_ONLY,))
    desk.take(strange)
    desk.later(16)
    assert sent(desk, "critical") == []
    desk.take(alarm)
    desk.later(16)
    desk.take(cleared(alarm))
    desk.take(cleared(strange))
    assert sent(desk, "critical") == ["firing", "resolved"]
    assert title(desk.mails()[-1]).startswith("[critical] resolved: ")
    with desk.store.transaction() as records:
        assert records.find(NOTIFICATION_STATES) == []


def _paged(desk: Desk) -> list[tuple[str, str]]:
    """Return what a pager is told to do, and about which alert."""
    pager = PagerDuty.model_validate({"name": "p", "routing_key": "k"})
    told = [event for notice in desk.notices() for event in pager.events(notice, Tools())]
    return [(event["event_action"], event["dedup_key"]) for event in told]


@pytest.mark.parametrize("lasts", [400, 2])
def test_a_pager_that_heard_of_flapping_hears_of_its_end(lasts: int) -> None:
    desk = Desk(group_wait_s=5)
    for number in range(7):
        desk.take(trouble(number=number))
        desk.later(2)
        desk.take(over(trouble(number=number)))
        desk.later(40)
    assert kinds(desk)[-1] == "flapping"
    desk.take(trouble(number=99))
    desk.later(lasts)
    desk.take(over(trouble(number=99)))
    for _ in range(120):
        desk.later(60)
    assert not _open_at_the_pager(desk)


def test_a_pager_that_heard_of_an_alert_hears_of_its_end_in_a_storm() -> None:
    desk = Desk(storm={"alerts": 4, "interval_s": 5})
    desk.take(trouble())
    desk.later(100)
    alerts = [trouble(f"h{n}") for n in range(9)]
    desk.take(over(trouble()), *alerts)
    assert "resolved" not in kinds(desk)
    desk.take(*(over(each) for each in alerts))
    for _ in range(4):
        desk.later(60)
    assert not _open_at_the_pager(desk)


def _open_at_the_pager(desk: Desk) -> set[str]:
    found: set[str] = set()
    for action, alert in _paged(desk):
        (found.add if action == "trigger" else found.discard)(alert)
    return found
