"""Alerts whose series sends nothing any more: people hear that, not that all is well."""

from __future__ import annotations

from services.healer.model.incident import INCIDENTS, Incident
from services.healer.notify.render.title import claim, title
from services.healer.people.why import story
from shared.contracts import (
    AlertChanged,
    AnomalyCleared,
    ItemRead,
    RemediationExecute,
    RemediationVerified,
)
from shared.contracts.alerts import ClearedReason
from shared.service import Context
from tests.unit.healer.test_alerting import over, put, silence, trouble
from tests.unit.healer.test_incidents import (
    AUTOMATIC,
    DISK,
    NOW_MS,
    Desk,
    anomaly,
    cleared,
    executed,
    observed,
    only,
    prediction,
    vanished,
    withdrawn,
)

_WORDS = (
    "no sample since 23:00:00 UTC; the last value was 95.2 %. "
    "The series is gone, or whoever sends it has stopped."
)


def _incident(desk: Desk) -> Incident:
    with desk.store.transaction() as records:
        (found,) = records.find(INCIDENTS)
        return found


def test_people_who_heard_of_it_hear_that_its_series_is_gone() -> None:
    desk = Desk()
    desk.take(anomaly(DISK))
    desk.later(16)
    ended = only(desk.take(vanished(anomaly(DISK))), AlertChanged)
    assert ended.outcome == _WORDS
    mail = desk.mails()[-1]
    assert (mail.kind, mail.gone, mail.value) == ("resolved", True, 95.2)
    assert mail.opening == f"The alert of /var/log on host1 ended: {_WORDS}"
    assert claim(mail.lines()[0], mail.at).endswith("has ended: its series sends nothing any more")
    with desk.store.transaction() as records:
        told = story(ended.alert_id, (), Context(desk.now, "", 1, records))
    assert told.opening == mail.opening
    assert f"ended: {_WORDS}" in [fact.sentence for fact in told.facts]
    assert not _incident(desk).handled


def test_a_prediction_whose_series_vanished_ends_for_those_who_heard_of_it() -> None:
    desk = Desk()
    desk.take(prediction())
    desk.later(16)
    last_ms = NOW_MS - 3_600_000
    gone = withdrawn(prediction(), "series_ended").model_copy(update={"last_sample_ms": last_ms})
    ended = only(desk.take(gone), AlertChanged)
    assert ended.outcome == _WORDS.replace("95.2", "91")
    mail = desk.mails()[-1]
    assert (mail.kind, mail.gone, mail.value) == ("resolved", True, 91.0)
    assert mail.opening == f"The alert of /var/log on host1 ended: {ended.outcome}"
    assert title(mail).endswith("has ended: its series sends nothing any more; no action needed")


def test_a_prediction_that_ends_tells_the_value_now() -> None:
    desk = Desk()
    desk.take(prediction())
    desk.later(16)
    desk.take(withdrawn(prediction(), "did_not_come"))
    assert desk.mails()[-1].opening.startswith("/var/log on host1 is out of danger, at 91 % now:")


def test_people_who_did_not_hear_of_it_do_not_hear_of_its_end() -> None:
    desk = Desk()
    put(desk, silence())
    desk.take(anomaly(DISK))
    desk.later(16)
    desk.take(vanished(anomaly(DISK)))
    desk.later(16)
    assert desk.notices() == []


def test_each_row_of_a_group_says_how_it_ended() -> None:
    desk = Desk(group_wait_s=5)
    both = trouble(item="a"), trouble(item="b")
    desk.take(*both)
    desk.later(5)
    desk.take(vanished(both[0]), over(both[1]))
    desk.later(5)
    said = {row.series.item: claim(row, desk.now) for row in desk.mails()[-1].lines()}
    assert said["a"].endswith("a on host1 has ended: its series sends nothing any more")
    assert said["b"].endswith("b on host1 has cleared")


def test_the_last_signal_that_ends_says_how_the_alert_ended() -> None:
    desk = Desk()
    first, second = anomaly(DISK, 1), anomaly(DISK, 2)
    desk.take(first, second)
    desk.later(16)
    desk.take(vanished(first), cleared(second))
    assert not desk.mails()[-1].gone
    assert _incident(desk).gone_since is None


def test_an_alarm_that_is_kept_for_a_time_says_it_afterwards() -> None:
    desk = Desk(keep_firing_s=60)
    desk.take(anomaly(DISK))
    desk.later(16)
    desk.take(vanished(anomaly(DISK)))
    assert len(desk.mails()) == 1
    desk.later(61)
    assert desk.mails()[-1].opening == f"The alert of /var/log on host1 ended: {_WORDS}"


def test_a_value_near_its_threshold_is_not_waited_for_where_no_other_can_come() -> None:
    desk = Desk(clear_hold_s=600)
    desk.take(anomaly(DISK))
    desk.later(16)
    assert only(desk.take(vanished(anomaly(DISK), 89.9)), AlertChanged).state == "resolved"


def test_a_remediation_whose_item_is_gone_is_not_verified() -> None:
    desk = Desk(AUTOMATIC)
    order = only(desk.take(anomaly(DISK)), RemediationExecute)
    desk.take(vanished(anomaly(DISK)))
    desk.take(executed(order))
    asked = only(desk.later(5), ItemRead)
    answers = desk.take(observed(asked, None))
    assert not [answer for answer in answers if isinstance(answer, RemediationVerified)]
    ended = only(answers, AlertChanged)
    assert ended.outcome.startswith("its series sends nothing any more; The item could not be read")
    assert desk.mails() == []
    assert not _incident(desk).handled


def test_an_end_of_before_says_that_the_value_is_back() -> None:
    old = cleared(anomaly(DISK)).model_dump(exclude={"reason", "last_sample_ms"})
    desk = Desk()
    desk.take(anomaly(DISK))
    desk.later(16)
    message = AnomalyCleared.model_validate(old)
    assert message.reason is ClearedReason.BACK
    assert only(desk.take(message), AlertChanged).outcome == "back to normal at 50"


def test_an_end_without_the_time_of_the_last_sample_is_dated_when_it_comes() -> None:
    desk = Desk()
    desk.take(anomaly(DISK))
    ended = vanished(anomaly(DISK)).model_copy(update={"last_sample_ms": None, "time_ms": 2**62})
    assert only(desk.take(ended), AlertChanged).outcome.startswith("no sample since 00:00:00 UTC")
    assert _incident(desk).opened_at.timestamp() * 1000 == NOW_MS
