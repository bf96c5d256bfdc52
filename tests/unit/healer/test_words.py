"""Notices say what is: of a storm's ends, of other systems' alerts, of crossings that move."""

from __future__ import annotations

from datetime import timedelta

from services.healer.incidents.alertmanager_alerts import OutsideAlert
from services.healer.model.incident import INCIDENTS
from services.healer.model.notice import Summary
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import claim, title
from shared.contracts.alerts import Severity
from shared.service import Context
from tests.unit.healer.test_alerting import over, trouble
from tests.unit.healer.test_incidents import NOW, Desk, anomaly, prediction

STORM = {"alerts": 4, "interval_s": 5}


def _summaries(desk: Desk) -> list[Summary]:
    return [notice for notice in desk.notices() if isinstance(notice, Summary)]


def test_a_storm_of_ends_is_not_told_as_one_of_alerts() -> None:
    desk = Desk(storm=STORM)
    alerts = [trouble(f"h{n}") for n in range(9)]
    desk.take(*alerts, trouble("db", "queue.length"))
    assert title(_summaries(desk)[-1]) == (
        "[critical] storm: 10 alerts on 10 machines, 9 of them app.errors; please look"
    )
    desk.take(*(over(each) for each in alerts))
    desk.later(6)
    ended = _summaries(desk)[-1]
    assert title(ended) == "[critical] storm: 9 alerts on 9 machines ended; no action needed"
    text = plain(ended)
    assert "9 alerts of which you were notified ended." in text
    assert "Please look" not in text
    assert "critical." not in text


def test_a_storm_of_both_tells_each_and_is_as_grave_as_what_is_open() -> None:
    desk = Desk(storm=STORM)
    alerts = [trouble(f"h{n}") for n in range(9)]
    desk.take(*alerts)
    fresh = [trouble(f"w{n}", severity="warning") for n in range(6)]
    desk.take(*(over(each) for each in alerts[:8]), *fresh)
    desk.later(6)
    both = _summaries(desk)[-1]
    assert title(both) == (
        "[warning] storm: 6 app.errors alerts on 6 machines, and 8 ended; please look"
    )
    assert both.severity is Severity.WARNING


def _posted(desk: Desk, **labels: str) -> None:
    alert = OutsideAlert(
        labels={"alertname": "mem.memused.percent", "severity": "critical"} | labels,
        annotations={"summary": "Memory of db7 is used up."},
        startsAt=NOW,
    )
    with desk.store.transaction() as records:
        context = Context(desk.now, "", 1, records)
        list(desk.handlers.outside_alerts([alert], timedelta(hours=1), context))
    desk.later(16)


def test_another_systems_alert_is_told_in_its_own_words_and_not_as_a_number() -> None:
    desk = Desk()
    _posted(desk, host="db7")
    mail = desk.mails()[-1]
    assert title(mail) == (
        "[critical] alarm: mem.memused.percent on db7 is firing: Memory of db7 is used up; "
        "please look"
    )
    assert "(16 s): Memory of db7 is used up. Nothing has been done" in mail.opening
    assert "1 %" not in plain(mail)
    assert claim(mail.lines()[0], mail.at).endswith("is firing: Memory of db7 is used up")


def test_another_systems_alert_of_our_own_series_does_not_hide_the_value() -> None:
    desk = Desk()
    own = anomaly().series
    desk.take(anomaly())
    _posted(desk, alertname=own.item, host=own.host)
    with desk.store.transaction() as records:
        (incident,) = records.find(INCIDENTS)
    assert (len(incident.signals), incident.observation.threshold) == (2, 10.0)


def test_of_a_crossing_that_moves_the_first_and_the_last_time_are_told() -> None:
    desk = Desk()
    for revision in range(1, 40):
        desk.take(prediction(revision=revision))
    with desk.store.transaction() as records:
        (incident,) = records.find(INCIDENTS)
    told = [fact.crossing_ms for fact in incident.narrative if fact.kind == "predicted"]
    assert told == [prediction(revision=n).crossing_ms for n in (1, 39)]
