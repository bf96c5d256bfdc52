"""Tests of what was once held in silence, said twice, or said of what nobody had heard of."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.healer.model.incident import INCIDENTS
from services.healer.model.notification import FLAPS, NOTICES, NOTIFICATION_STATES
from services.healer.model.policy import Policy
from services.healer.notify.measures import notification_states
from shared.contracts import AlarmPredicted, AlertChanged, ItemRead, RemediationExecute
from shared.contracts.alerts import Direction, Point, SeriesRef, Severity
from shared.service import Context
from tests.notification_passes import notify
from tests.unit.healer.test_alerting import RULE, kinds, over, put, silence, trouble
from tests.unit.healer.test_incidents import (
    AUTOMATIC,
    DISK,
    NOW,
    NOW_MS,
    Desk,
    anomaly,
    cleared,
    executed,
    observed,
    only,
    prediction,
    states,
    withdrawn,
)


def flap(desk: Desk, times: int = 8, lasts: float = 2, pause: float = 20) -> None:
    for number in range(times):
        desk.take(trouble(number=number))
        desk.later(lasts)
        desk.take(over(trouble(number=number)))
        desk.later(pause)


def test_that_it_flaps_is_notified_although_every_firing_ends_before_its_groups_turn() -> None:
    desk = Desk(group_wait_s=5)
    flap(desk)
    for _ in range(5):
        desk.later(5)
    assert kinds(desk) == ["flapping"]


@pytest.mark.parametrize(("severity", "most_s"), [("critical", 120), ("warning", 300)])
def test_a_firing_that_lasts_is_notified_although_its_series_flaps(severity, most_s) -> None:
    desk = Desk(group_wait_s=5)
    flap(desk, lasts=200)
    before = len(kinds(desk))
    desk.take(trouble(number=99, severity=severity))
    desk.later(most_s - 10)
    assert "firing" not in kinds(desk)[before:]
    desk.later(20)
    assert kinds(desk)[before:] == ["firing"]
    desk.take(over(trouble(number=99)))
    desk.later(40)
    assert kinds(desk)[before:] == ["firing", "resolved"]


def test_a_firing_much_longer_than_the_flaps_before_it_is_notified_soon() -> None:
    desk = Desk(group_wait_s=5)
    flap(desk, lasts=3)
    desk.take(trouble(number=99))
    desk.later(5)
    assert kinds(desk) == ["flapping"]
    desk.later(2)
    assert kinds(desk) == ["flapping", "firing"]


def test_what_flaps_says_until_when_it_is_held() -> None:
    desk = Desk(group_wait_s=1)
    flap(desk, lasts=100)
    desk.take(trouble(number=99))
    desk.later(2)
    with desk.store.transaction() as records:
        (held,) = records.find(NOTIFICATION_STATES)
        (flapping,) = records.find(FLAPS)
    assert (held.status, held.held_by) == ("held", "flapping")
    assert held.due == held.since + timedelta(seconds=120) < flapping.until


def test_openings_that_a_remediation_ended_do_not_count_as_flapping() -> None:
    desk = Desk(AUTOMATIC | {"cooldown_s": 0, "attempts_per_day": 100, "runs_per_hour": 100})
    for number in range(1, 9):
        order = only(desk.take(prediction(number, seconds=number * 20)), RemediationExecute)
        desk.take(executed(order))
        at = NOW + timedelta(seconds=number * 20 + 6)
        desk.take(observed(only(desk.later(5), ItemRead), 20.0, at))
        desk.later(15)
    assert kinds(desk) == ["handled"] * 8


def test_a_prediction_whose_time_is_past_says_nothing() -> None:
    desk = Desk()
    desk.now += timedelta(seconds=61)
    assert desk.take(prediction()) == []
    waiting = Desk(group_wait_s=5)
    waiting.take(prediction())
    waiting.now += timedelta(seconds=70)
    waiting.later(0)
    waiting.later(6)
    assert waiting.notices() == []
    with waiting.store.transaction() as records:
        (held,) = records.find(NOTIFICATION_STATES)
    assert held.held_by == "prediction past its time"


def test_a_prediction_made_from_what_was_before_a_healing_says_nothing() -> None:
    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(prediction()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 20.0, NOW + timedelta(seconds=6)))
    assert desk.take(prediction(2, seconds=5)) == []
    assert states(desk.take(prediction(3, seconds=7))) == ["predicted"]
    by_hand = Desk()
    by_hand.take(prediction())
    by_hand.take(withdrawn(prediction(seconds=30), "averted"))
    assert by_hand.take(prediction(2, seconds=29)) == []


def test_an_alarm_is_notified_although_its_prediction_was() -> None:
    desk = Desk()
    desk.take(prediction())
    desk.later(16)
    desk.take(anomaly(DISK))
    desk.later(16)
    assert kinds(desk) == ["predicted", "firing"]


def test_an_alarm_is_notified_although_people_were_called_for_its_prediction() -> None:
    desk = Desk(AUTOMATIC | {"attempts_per_day": 1, "cooldown_s": 0})
    desk.take(executed(only(desk.take(prediction()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 20.0, NOW + timedelta(seconds=6)))
    desk.take(prediction(2, seconds=30))
    desk.later(16)
    desk.take(anomaly(DISK))
    desk.later(16)
    assert kinds(desk) == ["handled", "escalated", "escalated"]


def fall(value: float = 25.0, **changes: Any) -> Any:
    recent = tuple(Point(time_ms=NOW_MS - 60_000 * n, value=85.0) for n in range(9, 0, -1))
    update = {"value": value, "recent": recent, "severity": Severity.WARNING} | changes
    return anomaly(DISK, 7).model_copy(update=update)


def test_that_somebody_cleaned_a_disk_is_no_alarm_whatever_the_detector_calls_it() -> None:
    desk = Desk()
    assert desk.take(fall(direction=Direction.SPIKE)) == []
    desk.take(prediction(seconds=1))
    desk.later(16)
    assert desk.take(fall()) == []
    assert kinds(desk) == ["predicted"]
    assert states(desk.take(fall(95.0))) == ["firing"], "beyond its threshold it is an alarm"


def test_what_relieves_a_machine_is_no_alarm_while_its_incident_is_open() -> None:
    load = SeriesRef(host="host1", item="load.5min")
    high = anomaly(load).model_copy(update={"value": 9.0, "threshold": 3.0, "family": "load"})
    low = {"value": 0.1, "threshold": 3.0, "direction": Direction.DROP, "family": "load"}
    desk = Desk()
    assert states(desk.take(anomaly(load, 5).model_copy(update=low))) == ["firing"]
    open_one = Desk()
    open_one.take(high)
    assert open_one.take(anomaly(load, 6).model_copy(update=low)) == []


def test_what_follows_from_a_silenced_cause_is_notified_itself() -> None:
    desk = Desk(inhibit=[RULE])
    put(desk, silence(matchers=['host="switch1"']))
    desk.take(trouble("switch1", "switch.up", rack="r1"), trouble("host1", rack="r1"))
    assert [n.series.host for n in desk.mails()] == ["host1"]


def test_causes_that_wait_for_each_other_hold_nothing_back() -> None:
    back = {"source": RULE["target"], "target": RULE["source"], "equal": ["rack"], "name": "back"}
    desk = Desk(inhibit=[RULE, back], group_wait_s=5)
    desk.take(trouble("switch1", "switch.up", rack="r1"), trouble("host1", rack="r1"))
    desk.later(5)
    assert len(desk.mails()) == 1


def test_what_is_attached_to_an_attached_cause_waits_with_it() -> None:
    upper = {"name": "core", "source": ['item="core.up"'], "target": RULE["source"], "equal": []}
    desk = Desk(inhibit=[upper, RULE], group_wait_s=5)
    desk.take(
        trouble("core1", "core.up"),
        trouble("switch1", "switch.up", rack="r1"),
        trouble("host1", rack="r1"),
    )
    for _ in range(20):
        desk.later(31)
    assert [n.series.host for n in desk.mails()] == ["core1"]


def test_a_clock_that_is_set_back_holds_nothing_longer() -> None:
    desk = Desk(group_wait_s=5, group_interval_s=30)
    desk.later(0)
    desk.now += timedelta(hours=3)
    desk.take(trouble("host1", "a"))
    desk.later(5)
    desk.take(trouble("host1", "b", severity="warning"))
    desk.now -= timedelta(hours=3)
    desk.later(1)
    assert len(desk.mails()) == 1
    desk.later(60)
    assert [n.series.item for n in desk.mails()] == ["a", "b"]


@pytest.mark.parametrize(
    ("probability", "handling"), [(0.19, "mail"), (0.25, "automatic"), (None, "automatic")]
)
def test_acting_on_a_prediction_needs_the_probability_that_the_policy_names(
    probability: float | None, handling: str
) -> None:
    desk = Desk(AUTOMATIC)
    likely = prediction().model_copy(update={"probability": probability})
    assert only(desk.take(likely), AlertChanged).handling == handling


def test_a_prediction_that_grows_likely_is_acted_on_then() -> None:
    desk = Desk(AUTOMATIC | {"min_probability": 0.7})
    desk.take(prediction().model_copy(update={"probability": 0.3}))
    desk.later(16)
    (mail,) = desk.mails()
    assert "a probability of 30 %, and acting needs 70 %" in " ".join(mail.actions)
    grown = prediction(revision=2, seconds=20).model_copy(update={"probability": 0.8})
    orders = [m for m in desk.take(grown) if isinstance(m, RemediationExecute)]
    assert [order.dry_run for order in orders] == [False]
    rule = {"items": "df.*", "level": "automatic", "remediation": "clean-logs"}
    own = Policy.model_validate({"rules": [rule | {"min_probability": 0.1}]})
    assert own.likely_enough(DISK, 0.19)


def test_what_has_ended_did_not_begin_in_the_future_of_a_clock_that_is_set_back() -> None:
    desk = Desk()
    desk.take(trouble())
    desk.take(over(trouble()))
    desk.later(60)
    desk.now -= timedelta(hours=1)
    desk.later(1)
    with desk.store.transaction() as records:
        (ended,) = records.find(INCIDENTS)
    assert ended.closed_at is not None
    assert ended.opened_at <= ended.closed_at <= desk.now


def test_two_replicas_notify_of_a_change_once() -> None:
    desk, other = Desk(), Desk()
    desk.take(trouble())
    other.store = desk.store
    notify(other.handlers, desk.store, desk.now)
    assert kinds(desk) == ["firing"]


def test_a_held_prediction_is_no_prediction_any_more_once_the_alarm_has_come() -> None:
    desk = Desk()
    put(desk, silence(matchers=['host="host1"'], ends_at=NOW + timedelta(seconds=40)))
    desk.take(prediction(revision=20))
    desk.later(16)
    desk.later(20)
    desk.take(anomaly(DISK))
    desk.later(5)
    assert kinds(desk) == ["firing"]


def test_a_held_prediction_that_is_acted_on_at_last_is_not_told_by_an_older_ones_time() -> None:
    desk = Desk(AUTOMATIC | {"min_probability": 0.7})

    def foreseen(revision: int, seconds: int, probability: float) -> AlarmPredicted:
        crossing_ms = NOW_MS + 1000 * seconds
        update = {"crossing_ms": crossing_ms, "earliest_ms": crossing_ms}
        return prediction(revision=revision).model_copy(
            update=update | {"probability": probability}
        )

    desk.take(foreseen(1, 10, 0.3))
    desk.later(16)
    desk.take(foreseen(2, 930, 0.3))
    orders = desk.take(foreseen(3, 30, 0.9))
    assert [m.dry_run for m in orders if isinstance(m, RemediationExecute)] == [False]
    desk.later(40)
    desk.later(40)
    assert "predicted" not in kinds(desk)


def test_metrics_say_how_long_alerts_were_held_and_how_old_the_oldest_unknown_one_is() -> None:
    def held_s() -> float:
        return (
            REGISTRY.get_sample_value("barograph_alert_held_seconds_total", {"why": "silence"})
            or 0.0
        )

    def oldest_s() -> float | None:
        with desk.store.reading() as records:
            notification_states(Context(desk.now, "", 1, records))
        return REGISTRY.get_sample_value("barograph_oldest_unnotified_critical_seconds")

    before = held_s()
    desk = Desk(group_wait_s=500)
    desk.take(trouble("host2"))
    put(desk, silence())
    desk.take(trouble())
    desk.later(300)
    assert oldest_s() == 300
    desk.later(300)
    desk.later(3600)
    assert oldest_s() == 0
    assert held_s() - before >= 3000


def test_when_an_alarm_ends_before_its_prediction_the_prediction_is_what_is_said() -> None:
    desk = Desk()
    desk.take(prediction(revision=20))
    desk.take(anomaly(DISK), cleared(anomaly(DISK)))
    desk.later(16)
    (mail,) = desk.mails()
    assert (mail.kind, mail.crossing_ms) == ("predicted", prediction(revision=20).crossing_ms)
    assert "will reach 90 %" in mail.opening


def test_what_came_true_is_said_as_what_is_and_not_as_what_was_to_come() -> None:
    desk = Desk()
    desk.take(prediction(), withdrawn(prediction(), "came_true"))
    desk.later(16)
    (mail,) = desk.mails()
    assert (mail.kind, mail.crossing_ms) == ("firing", None)
    assert "is at 91 %, above its threshold of 90 %" in mail.opening


def test_an_alarm_that_is_acted_on_at_once_is_not_called_a_prediction_that_waited() -> None:
    desk = Desk(AUTOMATIC | {"min_probability": 0.5}, group_wait_s=5)
    desk.take(prediction(revision=20).model_copy(update={"probability": 0.2}))
    desk.later(16)
    order = [m for m in desk.take(anomaly(DISK)) if isinstance(m, RemediationExecute)]
    assert [each.dry_run for each in order] == [False]
    desk.later(5)
    (mail,) = desk.mails()
    assert (mail.kind, mail.signal) == ("firing", "alarm")


def test_a_prediction_that_waits_is_held_back_by_its_newest_crossing_only() -> None:
    desk = Desk(group_wait_s=5)
    soon = prediction().model_copy(update={"crossing_ms": NOW_MS + 20_000})
    desk.take(soon)
    desk.later(16)
    desk.take(prediction(revision=15))
    for _ in range(12):
        desk.later(10)
    (mail,) = desk.mails()
    assert (mail.kind, mail.crossing_ms) == ("predicted", prediction(revision=15).crossing_ms)


def test_a_call_for_a_person_is_held_back_by_the_newest_crossing_only() -> None:
    desk = Desk(AUTOMATIC)
    put(desk, silence(matchers=['host="host1"'], ends_at=NOW + timedelta(seconds=40)))
    soon = prediction().model_copy(update={"crossing_ms": NOW_MS + 20_000})
    order = only(desk.take(soon), RemediationExecute)
    desk.take(executed(order, succeeded=False))
    desk.later(16)
    desk.take(prediction(2, revision=15))
    for _ in range(12):
        desk.later(10)
    (mail,) = desk.mails()
    assert (mail.kind, mail.crossing_ms) == ("escalated", prediction(revision=15).crossing_ms)


def test_a_storm_calls_nothing_a_prediction_that_has_come_meanwhile() -> None:
    desk = Desk(storm={"alerts": 1, "interval_s": 5})
    desk.take(prediction())
    desk.take(anomaly(DISK), trouble("host8"), trouble("host9"))
    desk.later(30)
    with desk.store.transaction() as records:
        told = [record.notice for record in records.find(NOTICES)]
    said = [row.kind for notice in told for row in notice.lines() if row.series == DISK]
    assert said[:1] == ["firing"]


def test_a_storm_calls_what_is_acted_on_no_prediction_once_the_alarm_has_come() -> None:
    desk = Desk(AUTOMATIC | {"min_probability": 0.5}, group_wait_s=5, storm={"alerts": 1})
    desk.take(prediction().model_copy(update={"probability": 0.2}))
    desk.later(16)
    desk.take(prediction(revision=20).model_copy(update={"probability": 0.9}))
    desk.take(anomaly(DISK), trouble("host2"), trouble("host3"))
    desk.later(5)
    rows = [row for told in desk.notices() for row in told.lines()]
    assert "predicted" not in {row.kind for row in rows if row.series == DISK}
