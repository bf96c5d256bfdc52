"""Stories of alerts as the healer itself tells them, up to the mail that matters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from services.healer.model.notice import Notice, Summary
from shared.contracts import AlarmPredicted, AnomalyDetected, ItemRead, RemediationExecute, Vote
from shared.contracts.alerts import AnomalyKind, Direction, Point, SeriesRef, Severity
from tests.unit.healer import test_acting as acting
from tests.unit.healer import test_job_notices as job_notices
from tests.unit.healer.test_alerting import RULE, over, trouble
from tests.unit.healer.test_incidents import (
    AUTOMATIC,
    DISK,
    NOW,
    NOW_MS,
    Desk,
    anomaly,
    executed,
    observed,
    only,
    prediction,
    vanished,
)

RISING = tuple(Point(time_ms=NOW_MS - 2000 * n, value=80.0 - n / 2) for n in range(60, -1, -1))


def likely(probability: float = 0.8) -> AlarmPredicted:
    update = {"probability": probability, "latest_ms": NOW_MS + 90_000, "recent": RISING}
    return prediction().model_copy(update=update)


def cleaned_in_time() -> Notice:
    """A disk was predicted to fill, and was cleaned."""
    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(likely()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 9.0, NOW + timedelta(seconds=6)))
    return desk.mails()[-1]


def cleaning_did_not_help() -> Notice:
    """The same, but cleaning freed too little."""
    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(likely()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 88.0, NOW + timedelta(seconds=6)))
    desk.take(anomaly(DISK))
    desk.later(16)
    return desk.mails()[-1]


def too_unlikely_to_act() -> Notice:
    """A prediction that the policy finds too unlikely to act on."""
    desk = Desk(AUTOMATIC)
    desk.take(likely(0.19))
    desk.later(16)
    return desk.mails()[-1]


def threshold_crossed() -> Notice:
    """A queue is over its threshold."""
    desk = Desk(
        {"rules": [{"level": "suggest", "runbook_url": "https://barograph.example.org/queue"}]},
        group_wait_s=5,
    )
    desk.take(trouble("queue1", "queue.length"))
    desk.later(5)
    return desk.mails()[-1]


def unlike_itself() -> Notice:
    """A value falls far below what is usual, which no threshold is about."""
    series = SeriesRef(host="shop", item="orders.per.minute")
    usual = [Point(time_ms=NOW_MS - 60_000 * n, value=120.0 - n % 3) for n in range(30, 0, -1)]
    strange = AnomalyDetected(
        event_id=anomaly(series, 5).event_id,
        series=series,
        family="other",
        severity=Severity.WARNING,
        time_ms=NOW_MS,
        value=7.8,
        direction=Direction.SPIKE,
        periodic=None,
        votes=(Vote(detector="short_term", judged=True, anomalous=True),),
        sentence="short_term: 7.8 differs by more than 27.5 from 5 of the 7 points before",
        recent=(*usual, Point(time_ms=NOW_MS, value=7.8)),
    )
    desk = Desk()
    desk.take(strange)
    return desk.mails()[-1]


def it_flaps() -> Notice:
    """It opens again and again, each time for moments."""
    desk = Desk(group_wait_s=5)
    for number in range(8):
        desk.take(trouble(number=number))
        desk.later(2)
        desk.take(over(trouble(number=number)))
        desk.later(20)
    return desk.mails()[-1]


def well_again() -> Notice:
    """An alarm people know of ends."""
    desk = Desk()
    desk.take(trouble())
    desk.later(720)
    desk.take(over(trouble()))
    return desk.mails()[-1]


def series_gone() -> Notice:
    """The container whose disk was full is removed."""
    desk = Desk()
    desk.take(anomaly(DISK))
    desk.later(16)
    desk.take(vanished(anomaly(DISK)))
    return desk.mails()[-1]


def machine_silent(*, back: bool = False) -> Notice:
    """A machine sends nothing any more."""
    alive = SeriesRef(host="db7", item="host.alive")
    silent = AnomalyDetected(
        event_id=anomaly(alive, 5).event_id,
        series=alive,
        family="host",
        severity=Severity.CRITICAL,
        time_ms=NOW_MS,
        value=0.0,
        direction=Direction.DROP,
        kind=AnomalyKind.GAP,
        periodic=None,
        votes=(Vote(detector="liveness", judged=True, anomalous=True),),
        sentence="db7 has reported nothing for 305 s",
        threshold=0.5,
    )
    desk = Desk(group_wait_s=5)
    desk.take(silent)
    desk.later(5)
    if back:
        desk.later(300)
        desk.take(over(silent, 1.0))
        desk.later(5)
    return desk.mails()[-1]


def machine_back() -> Notice:
    """It sends again."""
    return machine_silent(back=True)


def just_cleaned() -> Notice:
    """A disk fills again right after it was cleaned, and nothing is left to delete."""
    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(likely()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 9.0, NOW + timedelta(seconds=6)))
    again = prediction(2, seconds=20).model_copy(update={"probability": 0.8})
    desk.later(14)
    plan = only(desk.take(again), RemediationExecute)
    none = {"steps": (), "total_steps": 0, "detail": "nothing to delete", "audit": "0f" * 32}
    found = executed(plan).model_copy(update=none)
    desk.take(found)
    desk.later(16)
    return desk.mails()[-1]


def needs_approval() -> Notice:
    """A person is asked to approve a cleaning, with what it would do."""
    desk = acting.Desk(acting.APPROVE)
    desk.propose(likely())
    return desk.mails()[-1]


def nobody_answered() -> Notice:
    """Nobody acknowledged it, and the next ones are called."""
    desk = Desk(group_wait_s=5, escalation=[{"after_s": 600, "channels": ["mail"]}])
    desk.take(trouble("queue1", "queue.length"))
    desk.later(5)
    desk.later(601)
    return desk.mails()[-1]


def cause_of_others() -> Notice:
    """A switch fails, and with it what hangs on it."""
    desk = Desk(group_wait_s=5, inhibit=[RULE | {"equal": ["rack"]}])
    effects = [trouble(f"web-{n}", severity="warning", rack="r7") for n in range(3)]
    desk.take(*effects, trouble("switch-7", "switch.up", rack="r7"))
    desk.later(5)
    return desk.mails()[-1]


def a_storm() -> Summary:
    """Four switches fail, and with them their racks."""
    desk = Desk(
        group_wait_s=5, storm={"alerts": 50, "listed": 12}, inhibit=[RULE | {"equal": ["rack"]}]
    )
    roots = [trouble(f"switch-{n}", "switch.up", rack=f"r{n}") for n in range(4)]
    effects = [trouble(f"web-{n}-{r}", rack=f"r{r}") for r in range(4) for n in range(20)]
    strangers = [trouble(f"db-{n}", severity="warning") for n in range(5)]
    desk.take(*effects, *roots, *strangers)
    desk.later(5)
    storm = desk.notices()[-1]
    assert isinstance(storm, Summary)
    return storm


def a_job_failed() -> Summary:
    """A job whose owner wants to hear of its end has failed."""
    desk = job_notices.Desk()
    desk.take(job_notices.accepted(to=["mail:ann@example.org"]))
    desk.later(200)
    desk.take(job_notices.failed())
    return desk.notice()


STORIES: dict[str, Callable[[], Notice | Summary]] = {
    story.__name__: story
    for story in (
        cleaned_in_time,
        cleaning_did_not_help,
        too_unlikely_to_act,
        threshold_crossed,
        unlike_itself,
        it_flaps,
        well_again,
        series_gone,
        machine_silent,
        machine_back,
        just_cleaned,
        needs_approval,
        nobody_answered,
        cause_of_others,
        a_storm,
        a_job_failed,
    )
}
