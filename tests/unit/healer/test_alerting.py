"""When people are told of what: groups, causes, silences, flapping, storms, escalation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.healer.model.notice import Summary
from services.healer.model.notification import DELIVERIES, NOTIFICATION_STATES
from services.healer.notify.channels.webhook import Webhook
from services.healer.notify.inhibition import INHIBITIONS, Inhibition
from services.healer.notify.render.title import title
from services.healer.notify.silences import SILENCES, Recurrence, Silence
from services.healer.people.acknowledgement import NotFound
from shared.contracts import AlertChanged, AnomalyCleared, AnomalyDetected
from shared.contracts.alerts import Direction, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.service import Context
from tests.notification_passes import notify
from tests.unit.healer.test_incidents import NOW, NOW_MS, Desk, anomaly, cleared


def trouble(
    host: str = "host1",
    item: str = "app.errors",
    number: int = 1,
    severity: str = "critical",
    **labels: str,
) -> AnomalyDetected:
    series = SeriesRef(host=host, item=item, labels=labels)
    return AnomalyDetected(
        event_id=deterministic_id("anomaly", series.text(), number),
        series=series,
        family="other",
        severity=Severity(severity),
        time_ms=NOW_MS,
        value=9.0,
        direction=Direction.SPIKE,
        periodic=None,
        votes=(),
        sentence="too many",
        threshold=5.0,
    )


def over(of: AnomalyDetected, value: float = 1.0) -> AnomalyCleared:
    return AnomalyCleared(
        event_id=of.event_id, series=of.series, family=of.family, time_ms=NOW_MS, value=value
    )


def silence(**changes: Any) -> Silence:
    values = {
        "silence_id": "s1",
        "matchers": ['host="host1"'],
        "starts_at": NOW,
        "ends_at": NOW + timedelta(hours=1),
        "owner": "Ann",
        "reason": "work on the rack",
    }
    return Silence.model_validate(values | changes)


def put(desk: Desk, *silences: Silence) -> None:
    with desk.store.transaction() as records:
        for each in silences:
            records.put(SILENCES, each)


def do(desk: Desk, action: Any) -> Any:
    with desk.store.transaction() as records:
        context = Context(desk.now, "", 1, records)
        found = action(desk.handlers.people, context)
        found = list(found) if hasattr(found, "__next__") else found
    notify(desk.handlers, desk.store, desk.now)
    return found


def kinds(desk: Desk) -> list[str]:
    return [told.kind for told in desk.notices()]


def test_alarms_of_one_machine_are_told_together_and_the_worst_leads() -> None:
    desk = Desk(group_wait_s=5, group_interval_s=30)
    desk.take(trouble(item="a", severity="warning"), trouble(item="b"), trouble("host2"))
    assert desk.notices() == []
    desk.later(5)
    first, second = desk.mails()
    assert (first.series.item, [row.series.item for row in first.also]) == ("b", ["a"])
    assert second.series.host == "host2"
    assert title(first).endswith(" (and 1 more); please look")


def test_a_group_told_just_now_waits_unless_it_is_critical() -> None:
    desk = Desk(group_wait_s=1, group_interval_s=30)
    desk.take(trouble(item="a"))
    desk.later(1)
    desk.take(trouble(item="b", severity="warning"))
    desk.later(5)
    assert len(desk.mails()) == 1
    desk.take(trouble(item="c"))
    desk.later(1)
    assert [row.series.item for row in desk.mails()[1].lines()] == ["c", "b"]
    desk.take(over(trouble(item="c")))
    desk.later(5)
    assert len(desk.mails()) == 2
    desk.later(30)
    assert desk.mails()[2].kind == "resolved"
    assert desk.mails()[2].thread_id == desk.mails()[1].message_id


def test_a_page_about_the_item_is_linked_where_the_rule_names_none() -> None:
    rules = [{"items": "a", "level": "suggest", "runbook_url": "https://x/rule"}]
    desk = Desk({"rules": rules}, runbooks={"app.*": "https://x/app", "*": "https://x/any"})
    for number, item in enumerate(("a", "app.errors", "queue")):
        desk.take(trouble(f"host{number}", item))
    links = {mail.series.item: mail.runbook_url for mail in desk.mails()}
    assert links == {"a": "https://x/rule", "app.errors": "https://x/app", "queue": "https://x/any"}


def test_an_alarm_over_before_anybody_heard_of_it_is_not_notified() -> None:
    desk = Desk(group_wait_s=5)
    desk.take(trouble(), over(trouble()))
    desk.later(5)
    assert kinds(desk) == []
    with desk.store.transaction() as records:
        assert records.find(NOTIFICATION_STATES) == []


RULE = {
    "name": "switch",
    "source": ['item="switch.up"'],
    "target": ['item=~"app.*"'],
    "equal": ["rack"],
}


def test_what_follows_from_a_cause_is_attached_to_it_and_told_when_the_cause_is_gone() -> None:
    desk = Desk(group_wait_s=1, inhibit=[RULE])
    root = trouble("switch1", "switch.up", rack="r1")
    desk.take(trouble("host1", rack="r1"), trouble("host2", rack="r2"), root)
    desk.later(1)
    told = {notice.series.host: notice for notice in desk.mails()}
    assert set(told) == {"switch1", "host2"}
    assert [row.series.host for row in told["switch1"].attached] == ["host1"]
    assert told["switch1"].attached_total == 1

    desk.take(over(root))
    desk.later(60)
    assert {n.series.host: n.kind for n in desk.mails()[2:]} == {
        "switch1": "resolved",
        "host1": "firing",
    }


def test_what_one_cause_holds_back_is_not_all_looked_at_again_in_the_same_pass() -> None:
    desk = Desk(inhibit=[RULE])
    effects = [trouble(f"host{number}", rack="r1") for number in range(50)]
    desk.take(trouble("switch1", "switch.up", rack="r1"), *effects)

    def looked_at() -> list[datetime]:
        with desk.store.transaction() as records:
            return [
                s.due for s in records.find(NOTIFICATION_STATES, status="held") if s.due is not None
            ]

    first = looked_at()
    assert len(set(first)) == len(effects)
    assert NOW + timedelta(seconds=30) <= min(first) <= max(first) <= NOW + timedelta(seconds=60)
    desk.later(60)
    assert min(looked_at()) >= NOW + timedelta(seconds=90)
    assert [n.series.host for n in desk.mails()] == ["switch1"]


def test_what_was_held_back_is_told_when_the_rule_is_gone_while_its_cause_lasts() -> None:
    desk = Desk()
    rule = Inhibition.model_validate(RULE)
    with desk.store.transaction() as records:
        records.put(INHIBITIONS, rule)
    desk.take(trouble("switch1", "switch.up", rack="r1"), trouble("host1", rack="r1"))
    assert [n.series.host for n in desk.mails()] == ["switch1"]
    with desk.store.transaction() as records:
        records.delete(INHIBITIONS, rule.name)
    desk.later(60)
    assert [n.series.host for n in desk.mails()] == ["switch1", "host1"]


def test_two_that_would_cause_each_other_are_both_told() -> None:
    both = {"name": "b", "source": ['item=~"a|b"'], "target": ['item=~"a|b"'], "equal": ["host"]}
    desk = Desk(inhibit=[both])
    desk.take(trouble(item="a"), trouble(item="b"))
    assert sum(len(notice.lines()) for notice in desk.mails()) == 2


def test_a_silence_mutes_until_it_ends_and_what_still_holds_is_told_then() -> None:
    desk = Desk()
    put(desk, silence())
    assert [a.state for a in desk.take(trouble()) if isinstance(a, AlertChanged)] == ["firing"]
    desk.take(trouble(item="short"), over(trouble(item="short")))
    desk.later(3599)
    assert desk.notices() == []
    desk.later(1)
    assert [n.series.item for n in desk.mails()] == ["app.errors"]


@pytest.mark.parametrize(("tell", "wanted"), [(True, ["firing", "resolved"]), (False, ["firing"])])
def test_the_end_of_what_was_told_is_told_in_a_silence_too_unless_unwanted(tell, wanted) -> None:
    desk = Desk()
    desk.take(trouble())
    put(desk, silence(tell_resolved=tell))
    desk.take(over(trouble()))
    assert kinds(desk) == wanted


def test_ending_a_silence_tells_what_it_held_back() -> None:
    desk = Desk()
    put(desk, silence())
    desk.take(trouble())
    do(desk, lambda people, ctx: people.end_silence("s1", ctx))
    assert kinds(desk) == ["firing"]
    with pytest.raises(NotFound):
        do(desk, lambda people, ctx: people.end_silence("s1", ctx))


SUNDAYS = {
    "rule": "FREQ=WEEKLY;BYDAY=SU",
    "first": "2024-01-07T02:30:00",
    "timezone": "Europe/Berlin",
    "duration_s": 3600,
}


def test_a_silence_that_is_made_shorter_holds_nothing_longer() -> None:
    desk = Desk()
    put(desk, silence(ends_at=NOW + timedelta(days=30)))
    desk.take(trouble())
    assert kinds(desk) == []
    shorter = silence(ends_at=NOW + timedelta(minutes=5))
    do(desk, lambda people, ctx: people.silence(shorter, ctx))
    desk.later(301)
    assert kinds(desk) == ["firing"]


def test_a_window_that_is_configured_no_more_holds_nothing_after_the_restart() -> None:
    desk = Desk(windows=(silence(ends_at=NOW + timedelta(days=30)),))
    desk.take(trouble())
    assert kinds(desk) == []
    restarted = Desk()
    restarted.store, restarted.now = desk.store, desk.now
    restarted.later(60)
    assert kinds(restarted) == ["firing"]


def window(**changes: Any) -> Silence:
    recurrence = SUNDAYS | changes
    return silence(recurrence=recurrence, ends_at=datetime(2025, 1, 1, tzinfo=UTC))


def test_a_recurring_window_keeps_local_time_when_the_clocks_change() -> None:
    starts = [start for start, _ in window().windows(datetime(2024, 3, 18, tzinfo=UTC), 3)]
    # Sunday 31 March has no 02:30 in Berlin: that window begins an hour later by the clock.
    assert [f"{s:%m-%d %H:%M}" for s in starts] == ["03-24 01:30", "03-31 01:30", "04-07 00:30"]


def test_a_window_mutes_only_while_it_is_open() -> None:
    desk = Desk(windows=[window(first="2024-01-01T01:30:00", rule="FREQ=DAILY").model_dump()])
    assert desk.now == NOW  # 01:00 in Berlin
    desk.take(trouble(item="before"))
    desk.later(1800)
    desk.take(trouble(item="within"))
    assert [n.series.item for n in desk.mails()] == ["before"]
    desk.later(3600)
    assert [n.series.item for n in desk.mails()] == ["before", "within"]


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 12, 31)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,FR", "FREQ=MONTHLY;BYDAY=1SU"]),
    st.integers(60, 200_000),
)
def test_open_at_agrees_with_the_list_of_windows(moment, zone, rule, length) -> None:
    recurrence = Recurrence(
        rule=rule,
        first=datetime(2024, 1, 1, 1, 30),
        timezone=zone,
        duration_s=length,
    )
    moment = moment.replace(tzinfo=UTC)
    around = recurrence.between(moment - timedelta(days=40), moment + timedelta(days=40))
    inside = any(start <= moment < end for start, end in around)
    assert (recurrence.open_at(moment) is not None) == inside


def test_bad_windows_name_what_is_wrong() -> None:
    for changes, why in (
        ({"timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"rule": "FREQ=SECONDLY"}, "needs one FREQ of"),
        ({"rule": "FREQ=DAILY;BYDAY=XX"}, "not a usable recurrence rule"),
        ({"duration_s": 0}, "greater than 0"),
    ):
        with pytest.raises(ValidationError, match=why):
            window(**changes)
    with pytest.raises(ValidationError, match="not a regular expression"):
        silence(matchers=['host=~"["'])
    with pytest.raises(ValidationError, match="is not a matcher"):
        silence(matchers=["host"])


def test_a_preview_says_what_would_be_muted() -> None:
    desk = Desk()
    desk.take(trouble(), trouble("host2"), trouble(item="old"), over(trouble(item="old")))
    found = do(desk, lambda people, ctx: people.preview(silence(), ctx))
    assert found.mutes_now
    assert [row.series.host for row in found.open] == ["host1"]
    assert (found.past_alerts, found.past_muted) == (2, 2)
    assert found.windows == ((NOW, NOW + timedelta(hours=1)),)


def test_an_alert_that_flaps_is_told_as_such_once_and_again_when_it_is_calm() -> None:
    desk = Desk()
    for number in range(12):
        desk.take(trouble(number=number), over(trouble(number=number)))
        desk.later(30)
    told = kinds(desk)
    assert told == ["flapping"]
    for _ in range(200):
        desk.later(60)
    assert kinds(desk) == [*told, "resolved"]
    with desk.store.transaction() as records:
        assert records.find(NOTIFICATION_STATES) == []


def test_calm_is_told_though_the_last_alert_lasted_and_its_end_was_told() -> None:
    desk = Desk()
    for number in range(8):
        desk.take(trouble(number=number), over(trouble(number=number)))
        desk.later(30)
    desk.take(trouble(number=9))
    for _ in range(10):
        desk.later(60)
    desk.take(over(trouble(number=9)))
    desk.later(60)
    assert kinds(desk) == ["flapping", "firing", "resolved"]
    for _ in range(200):
        desk.later(60)
    assert kinds(desk) == ["flapping", "firing", "resolved", "resolved"]
    back, calm = (notice.opening for notice in desk.mails()[-2:])
    assert "is back to normal" in back or "no longer fires" in back
    assert "has calmed down: it has not fired since" in calm


def test_a_flapping_alert_that_stays_is_told() -> None:
    desk = Desk()
    for number in range(8):
        desk.take(trouble(number=number), over(trouble(number=number)))
    desk.take(trouble(number=9))
    for _ in range(100):
        desk.later(60)
    assert kinds(desk)[-1] == "firing"


def test_a_value_barely_back_is_not_yet_the_end() -> None:
    desk = Desk()
    desk.take(trouble(), over(trouble(), value=4.95))
    assert kinds(desk) == ["firing"]
    desk.take(trouble(number=2))
    desk.later(120)
    assert kinds(desk) == ["firing"], "it came back within the minute: the same alarm"
    desk.take(over(trouble(number=2), value=4.95))
    desk.later(61)
    assert kinds(desk) == ["firing", "resolved"]


def test_keep_firing_holds_an_alarm_open() -> None:
    desk = Desk(keep_firing_s=300)
    desk.take(trouble(), over(trouble()))
    desk.later(299)
    assert kinds(desk) == ["firing"]
    desk.later(2)
    assert kinds(desk) == ["firing", "resolved"]


PAGER = Webhook.model_validate({"name": "pager", "url": "http://x/", "escalation_only": True})
STEPS = [{"after_s": 600, "channels": ["pager"]}, {"after_s": 60, "channels": ["mail", "pager"]}]


def sent_to(desk: Desk) -> list[str]:
    with desk.store.transaction() as records:
        return [delivery.channel for delivery in records.find(DELIVERIES)]


def test_what_nobody_acknowledges_goes_to_the_next_ones() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    desk.take(trouble(), trouble("host2", severity="warning"))
    desk.later(599)
    assert sent_to(desk) == ["mail", "mail"]
    desk.later(1)
    assert sent_to(desk) == ["mail", "mail", "pager"]
    desk.later(60)
    assert sorted(sent_to(desk)[3:]) == ["mail", "pager"]
    desk.later(14_399)
    assert len(sent_to(desk)) == 5


def test_who_acknowledges_is_said_and_nobody_else_is_called() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    changed = desk.take(trouble())[0]
    answers = do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Ann", ctx))
    assert [(a.acknowledged_by, a.sequence) for a in answers] == [("Ann", 2)]
    again = do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Bob", ctx))
    assert again == []
    desk.later(100_000)
    assert kinds(desk) == ["firing", "acknowledged"]
    desk.take(over(trouble()))
    assert kinds(desk) == ["firing", "acknowledged", "resolved"]
    with pytest.raises(NotFound):
        do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Ann", ctx))


def test_who_acknowledged_a_warning_has_not_acknowledged_what_it_becomes() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    changed = desk.take(trouble(severity="warning"))[0]
    do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Ann", ctx))
    worse = desk.take(trouble(number=2))
    assert [(a.severity, a.acknowledged_by) for a in worse] == [("critical", "")]
    assert kinds(desk) == ["firing", "acknowledged", "firing"]
    assert "It has become critical since Ann acknowledged it." in desk.mails()[-1].actions
    do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Ann", ctx))
    desk.later(100_000)
    assert "pager" not in sent_to(desk), "she has acknowledged that, too"


def test_what_is_silenced_after_its_notice_calls_nobody_until_the_silence_ends() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    desk.take(trouble())
    put(desk, silence(ends_at=NOW + timedelta(minutes=30)))
    desk.later(1700)
    assert sent_to(desk) == ["mail"]
    desk.later(200)
    assert "pager" in sent_to(desk)


def test_what_became_worse_than_was_acknowledged_goes_to_the_next_ones() -> None:
    desk = Desk(escalation=STEPS, channels=(PAGER,))
    changed = desk.take(trouble(severity="warning"))[0]
    do(desk, lambda people, ctx: people.acknowledge(changed.alert_id, "Ann", ctx))
    desk.take(trouble(number=2))
    desk.later(600)
    assert "pager" in sent_to(desk)


def test_a_storm_is_told_in_summaries_and_nothing_is_dropped() -> None:
    rule = RULE | {"equal": ["rack"]}
    desk = Desk(group_wait_s=5, storm={"alerts": 50, "interval_s": 60}, inhibit=[rule])
    roots = [trouble(f"switch{n}", "switch.up", rack=f"r{n}") for n in range(4)]
    effects = [trouble(f"h{n}-{r}", rack=f"r{r}") for r in range(4) for n in range(50)]
    strangers = [trouble(f"s{n}") for n in range(60)]
    desk.take(*effects[:100], *roots, *effects[100:], *strangers)
    desk.later(5)
    (storm,) = desk.notices()
    assert isinstance(storm, Summary)
    assert {row.series.host for row in storm.rows[:4]} == {r.series.host for r in roots}
    assert storm.attached == {row.incident_id: 50 for row in storm.rows[:4]}
    assert len(storm.rows) == 264
    late = [trouble(f"late{n}") for n in range(40)]
    desk.take(*late, over(roots[0]))
    desk.later(30)
    assert len(desk.notices()) == 1
    for _ in range(8):
        desk.later(60)
    summaries = desk.notices()
    assert summaries[-1].kind == "storm over"
    assert len(summaries) <= 4
    told = {row.series.host for summary in summaries for row in summary.lines()}
    assert told >= {f"late{n}" for n in range(40)} | {"switch0"}
    desk.take(trouble("calm"))
    desk.later(5)
    assert desk.mails()[-1].series.host == "calm"


@pytest.mark.slow
def test_a_storm_that_rises_slowly_is_not_told_alert_by_alert() -> None:
    desk = Desk(group_wait_s=5, storm={"alerts": 50})
    for number in range(300):
        desk.take(trouble(f"h{number}"))
        desk.later(0.05)
    assert [told.kind for told in desk.notices()] == ["storm"]


def test_some_causes_with_many_effects_are_a_storm_and_one_such_cause_is_a_mail() -> None:
    rule = RULE | {"equal": ["rack"]}
    desk = Desk(group_wait_s=5, storm={"alerts": 50}, inhibit=[rule])

    def rack(number: int) -> list[AnomalyDetected]:
        effects = [trouble(f"h{number}-{n}", rack=f"r{number}") for n in range(60)]
        return [trouble(f"switch{number}", "switch.up", rack=f"r{number}"), *effects]

    desk.take(*rack(0))
    desk.later(5)
    assert [told.kind for told in desk.notices()] == ["firing"]
    desk.take(*(alarm for number in range(1, 5) for alarm in rack(number)))
    desk.later(5)
    storm = desk.notices()[-1]
    assert isinstance(storm, Summary)
    assert {row.series.host for row in storm.rows[:4]} == {f"switch{n}" for n in range(1, 5)}


def test_evidence_that_comes_after_the_summary_is_not_told_again() -> None:
    desk = Desk(storm={"alerts": 5})
    desk.take(*(anomaly(SeriesRef(host=f"h{n}", item="cpu.idle")) for n in range(4)))
    desk.take(*(trouble(f"x{n}") for n in range(6)))
    (storm,) = desk.notices()
    assert len(storm.lines()) == 10
    desk.later(16)
    desk.later(200)
    rows = [row.incident_id for told in desk.notices() for row in told.lines()]
    assert len(rows) == len(set(rows))


def test_a_recipient_gets_the_rest_of_the_hour_as_a_digest() -> None:
    desk = Desk(mails_per_hour=3, digest_every_s=900)
    for n in range(8):
        desk.take(trouble(f"host{n}", severity="warning"))
    with desk.store.transaction() as records:
        waiting = records.find(DELIVERIES, status="digest")
    assert len(waiting) == 5
    desk.later(901)
    digest = desk.notices()[-1]
    assert digest.kind == "digest"
    assert [row.series.host for row in digest.lines()] == [f"host{n}" for n in range(3, 8)]
    desk.later(3600)
    desk.take(trouble("later"))
    with desk.store.transaction() as records:
        assert [d.status for d in records.find(DELIVERIES)][-1] == "pending"


def test_a_critical_alarm_waits_for_no_digest_longer_than_a_minute() -> None:
    desk = Desk(mails_per_hour=3, digest_every_s=900)
    for n in range(5):
        desk.take(trouble(f"host{n}", severity="warning"))
    desk.take(trouble("worst"))
    desk.later(61)
    digest = desk.notices()[-1]
    assert digest.kind == "digest"
    assert [row.series.host for row in digest.lines()] == ["host3", "host4", "worst"]


def test_a_cpu_alarm_is_not_mailed_before_the_machine_answered_outside_of_storms() -> None:
    desk = Desk()
    desk.take(anomaly())
    assert desk.notices() == []
    desk.take(cleared(anomaly()))
    assert kinds(desk) == []
