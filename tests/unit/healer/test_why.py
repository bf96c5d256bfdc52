"""Why people were notified, and why not: the story, the log and the command tell the same."""

from __future__ import annotations

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from services.healer.model.decision_log import EVENTS
from services.healer.people.acknowledgement import NotFound
from services.healer.people.why import Story, notification_views, story, why
from shared.cli.narrative import is_alert, tell
from shared.contracts import AlertChanged, ItemRead, RemediationExecute
from shared.service import Context
from tests.unit.healer.test_alerting import over, put, silence, trouble
from tests.unit.healer.test_incidents import (
    AUTOMATIC,
    DISK,
    NOW,
    Desk,
    executed,
    observed,
    only,
    prediction,
)


def asked(desk: Desk, host: str, item: str = "", at=None) -> list[Story]:
    with desk.store.transaction() as records:
        context = Context(desk.now, "", 1, records)
        return why(host, item, at, desk.settings.all_channels, context)


def cleaned(desk: Desk) -> None:
    likely = prediction().model_copy(update={"probability": 0.31, "latest_ms": None})
    desk.take(executed(only(desk.take(likely), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 9.0, NOW + timedelta(seconds=6)))


def test_a_prediction_handled_in_time_is_told_as_that_everywhere() -> None:
    desk = Desk(AUTOMATIC)
    cleaned(desk)
    (mail,) = desk.mails()
    assert mail.opening == (
        "/var/log on host1: predicted to reach 90 % at 00:01:00 (31 %); clean-logs did 1 step and "
        "freed 977 KiB at 00:00:00 UTC; 80 % → 9 %; no alarm fired. No action is needed."
    )
    (told,) = asked(desk, "host1")
    assert [fact.kind for fact in told.facts] == [
        "predicted",
        "decided",
        "executed",
        "verified",
        "ended",
        "notified",
    ]
    assert told.notification == "over"
    assert told.opening == mail.opening
    assert [d["channel"] for d in told.facts[-1].deliveries] == ["mail"]


def test_what_was_held_says_by_what_and_until_when_and_what_nobody_heard_of_says_why() -> None:
    desk = Desk()
    put(desk, silence())
    changed = only(desk.take(trouble()), AlertChanged)
    (told,) = asked(desk, "host1", "app.errors")
    assert (told.notification, told.held_by) == ("held", "silence s1")
    assert told.until == NOW + timedelta(hours=1)
    desk.take(over(trouble()))
    with desk.store.transaction() as records:
        ended = story(changed.alert_id, (), Context(desk.now, "", 1, records))
    assert (
        ended.facts[-1].sentence == "nobody was notified: it ended before anybody had heard of it"
    )
    assert asked(desk, "host1", "other.item") == []


def test_a_list_of_alerts_learns_the_same_of_those_that_are_known() -> None:
    desk = Desk()
    put(desk, silence())
    changed = only(desk.take(trouble()), AlertChanged)
    with desk.store.transaction() as records:
        context = Context(desk.now, "", 1, records)
        found = notification_views([changed.alert_id, "unknown"], context)
        told = story(changed.alert_id, (), context)
    (view,) = found.values()
    assert (view.status, view.held_by, view.until) == ("held", "silence s1", told.until)


def test_an_ended_alert_is_found_by_the_time_at_which_it_was_open() -> None:
    desk = Desk()
    desk.take(trouble())
    desk.later(100)
    desk.take(over(trouble()))
    desk.later(86_400)
    assert len(asked(desk, "host1", at=NOW + timedelta(seconds=50))) == 1
    assert asked(desk, "host1", at=NOW + timedelta(seconds=500)) == []
    with desk.store.transaction() as records, pytest.raises(NotFound):
        story("00000000-0000-0000-0000-000000000000", (), Context(desk.now, "", 1, records))


def test_every_decision_is_one_log_line_with_the_alerts_id() -> None:
    desk = Desk(AUTOMATIC)
    with capture_logs() as logs:
        cleaned(desk)
    events = [entry["event"] for entry in logs if entry["event"].startswith("alert_")]
    assert events == [
        "alert_predicted",
        "alert_decided",
        "alert_remedied",
        "alert_verified",
        "alert_closed",
        "alert_notified",
    ]
    (told,) = asked(desk, "host1")
    assert {e["alert_id"] for e in logs if e["event"].startswith("alert_")} == {told.alert_id}
    assert {entry["log_level"] for entry in logs if entry["event"] in events} == {"info"}
    assert len({event for event, _ in EVENTS.values()}) == len(EVENTS)


def test_every_line_has_the_trace_of_the_signal_that_opened_the_alert_also_in_a_pass() -> None:
    desk = Desk()
    put(desk, silence(ends_at=NOW + timedelta(seconds=30)))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with capture_logs() as logs:
        desk.take(trouble(), trace=trace)
        desk.later(31)
        desk.take(over(trouble()))
        desk.later(31)
    lines = [entry for entry in logs if entry["event"].startswith("alert_")]
    assert [line["event"] for line in lines] == [
        "alert_fires",
        "alert_held",
        "alert_notified",
        "alert_closed",
        "alert_notified",
    ]
    assert {line["trace_id"] for line in lines} == {trace.split("-")[1]}


def test_the_command_prints_the_story_and_no_terminal_codes(capsys) -> None:
    desk = Desk(AUTOMATIC)
    cleaned(desk)
    (told,) = asked(desk, "host1", DISK.item)
    shown = told.model_dump(mode="json")
    shown["facts"][0]["sentence"] += "\x1b[2J"
    tell(shown)
    printed = capsys.readouterr().out
    assert "df.bytes.used.percent on host1 mount=/var/log" in printed
    assert "no alarm fired. No action is needed." in printed
    assert "read again after clean-logs: 80 % → 9 %; no alarm fired" in printed
    assert "mail a@example.org pending" in printed
    assert "\x1b" not in printed
    assert is_alert(told.alert_id)
    assert not is_alert("host1")
