"""The course of incidents, without any server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from sqlalchemy import event

from services.healer.actions.scores import SCORES
from services.healer.handlers import Handlers
from services.healer.model.incident import INCIDENTS
from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import NOTICES
from services.healer.model.policy import Policy
from services.healer.model.series_incidents import read_ahead
from services.healer.notify.channels import Channel
from services.healer.notify.settings import Alerting
from services.healer.people.why import story
from services.healer.settings import HealerSettings
from shared.contracts import (
    AlarmPredicted,
    AlertChanged,
    AnomalyCleared,
    AnomalyDetected,
    EvidenceCollect,
    EvidenceCollected,
    ItemObserved,
    ItemRead,
    Message,
    PredictionWithdrawn,
    RemediationExecute,
    RemediationExecuted,
    RemediationVerified,
    Vote,
)
from shared.contracts.alerts import ClearedReason, Direction, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.contracts.remediation import EvidenceRow, RemediationStep
from shared.service import Context
from shared.store import Store
from tests.notification_passes import expire, notify

NOW = datetime(2024, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DISK = SeriesRef(host="host1", item="df.bytes.used.percent", labels={"mount": "/var/log"})
CPU = SeriesRef(host="host1", item="cpu.idle")
AT_ONCE = {"group_wait_s": 0, "group_interval_s": 0}
AUTOMATIC = {
    "rules": [{"items": "df.*", "mode": "automatic", "remediation": "clean-logs"}],
}


class Desk:
    """A healer with a store of its own, its clock moved by hand."""

    def __init__(
        self,
        policy: dict[str, Any] | None = None,
        mail_to: str = "a@example.org",
        channels: tuple[Channel, ...] = (),
        canary_every_s: float = 0,
        **alerting: Any,
    ) -> None:
        self.settings = HealerSettings(
            policy=Policy.model_validate(policy or {}),
            smtp_url=SecretStr("smtp://127.0.0.1:1"),
            mail_to=mail_to,
            alerting=Alerting.model_validate(
                {"group_wait_s": 0, "group_interval_s": 0, **alerting}
            ),
            channels=channels,
            canary_every_s=canary_every_s,
        )
        self.store = Store("sqlite://")
        self.now = NOW
        self.uptime = 0.0
        self.start()

    def start(self) -> None:
        """Begin as a process does that finds the store as another one has left it."""
        handlers = self.handlers = Handlers(self.settings, lambda: self.uptime)
        self._table: dict[type[Message], Callable[..., Iterable[Message]]] = {
            AnomalyDetected: handlers.anomaly_detected,
            AnomalyCleared: handlers.anomaly_cleared,
            AlarmPredicted: handlers.alarm_predicted,
            PredictionWithdrawn: handlers.prediction_withdrawn,
            EvidenceCollected: handlers.evidence_collected,
            RemediationExecuted: handlers.remediation_executed,
            ItemObserved: handlers.item_observed,
        }

    def take(self, *messages: Message, trace: str = "") -> list[Message]:
        answers: list[Message] = []
        with self.store.transaction() as records:
            for message in messages:
                context = Context(self.now, "", 1, records, trace)
                answers += self._table[type(message)](message, context)
        notify(self.handlers, self.store, self.now)
        return answers

    def later(self, seconds: float) -> list[Message]:
        self.now += timedelta(seconds=seconds)
        self.uptime += seconds
        answers = expire(self.handlers, self.store, self.now)
        notify(self.handlers, self.store, self.now)
        return answers

    def notices(self) -> list[Notice | Summary]:
        with self.store.transaction() as records:
            return [record.notice for record in records.find(NOTICES)]

    def mails(self) -> list[Notice]:
        return [told for told in self.notices() if isinstance(told, Notice)]


def anomaly(
    series: SeriesRef = CPU, number: int = 1, severity: Severity = Severity.CRITICAL
) -> AnomalyDetected:
    return AnomalyDetected(
        event_id=deterministic_id("anomaly", series.text(), number),
        series=series,
        family="cpu" if series is CPU else "disk",
        severity=severity,
        time_ms=NOW_MS,
        value=4.0 if series is CPU else 93.0,
        direction=Direction.SPIKE,
        periodic=None,
        votes=(),
        sentence="it is beyond its threshold",
        threshold=10.0 if series is CPU else 90.0,
    )


def cleared(of: AnomalyDetected) -> AnomalyCleared:
    return AnomalyCleared(
        event_id=of.event_id, series=of.series, family=of.family, time_ms=NOW_MS, value=50.0
    )


def vanished(of: AnomalyDetected, value: float = 95.2) -> AnomalyCleared:
    """The end of an alert whose series sends nothing any more, an hour before now."""
    last_ms = NOW_MS - 3_600_000
    gone = {"value": value, "reason": ClearedReason.SERIES_ENDED, "last_sample_ms": last_ms}
    return cleared(of).model_copy(update=gone)


def prediction(number: int = 1, revision: int = 1, seconds: float = 0) -> AlarmPredicted:
    return AlarmPredicted(
        event_id=deterministic_id("prediction", number),
        revision=revision,
        series=DISK,
        family="disk",
        time_ms=NOW_MS + int(seconds * 1000),
        value=80.0,
        threshold=90.0,
        above=True,
        crossing_ms=NOW_MS + int(seconds * 1000) + 60_000 * revision,
        earliest_ms=NOW_MS + int(seconds * 1000) + 50_000,
        latest_ms=None,
        predicted_value=97.0,
        forecaster="arima",
        sentence="it will cross",
    )


def withdrawn(of: AlarmPredicted, outcome: Any) -> PredictionWithdrawn:
    return PredictionWithdrawn(
        event_id=of.event_id,
        series=of.series,
        family=of.family,
        time_ms=of.time_ms,
        value=91.0,
        outcome=outcome,
    )


def executed(order: RemediationExecute, *, succeeded: bool = True) -> RemediationExecuted:
    return RemediationExecuted(
        command_id=order.command_id,
        incident_id=order.incident_id,
        host=order.host,
        remediation=order.remediation,
        dry_run=order.dry_run,
        succeeded=succeeded,
        steps=(RemediationStep(action="delete", target="/var/log/a.1", freed_bytes=10**6),),
        total_steps=1,
        freed_bytes=10**6,
        detail="" if succeeded else "no allowed root",
        at=NOW,
    )


def observed(question: ItemRead, value: float | None, at: datetime = NOW) -> ItemObserved:
    return ItemObserved(
        command_id=question.command_id,
        incident_id=question.incident_id,
        series=question.series,
        value=value,
        at=at,
    )


def found(question: EvidenceCollect) -> EvidenceCollected:
    return EvidenceCollected(
        command_id=question.command_id,
        host=question.host,
        family=question.family,
        title="Processes",
        rows=(EvidenceRow(columns={"pid": "1"}),),
        at=NOW,
    )


def only(messages: list[Message], kind: type[Any]) -> Any:
    (found,) = [m for m in messages if isinstance(m, kind)]
    return found


def states(messages: Iterable[Message]) -> list[str]:
    return [str(m.state) for m in messages if isinstance(m, AlertChanged)]


def test_an_anomaly_is_mailed_with_the_machines_evidence() -> None:
    desk = Desk()

    answers = desk.take(anomaly())
    alert, question = only(answers, AlertChanged), only(answers, EvidenceCollect)
    assert (alert.state, alert.handling, alert.sequence) == ("firing", "mail", 1)
    assert alert.routing_key() == "alert.firing.critical.cpu.host1"
    assert desk.mails() == []

    row = EvidenceRow(columns={"pid": "7", "command": "burn"})
    desk.take(
        EvidenceCollected(
            command_id=question.command_id,
            host="host1",
            family="cpu",
            title="Processes by CPU",
            rows=(row,),
            at=NOW,
        )
    )
    (mail,) = desk.mails()
    assert (mail.kind, mail.evidence, mail.thread_id) == ("firing", (row,), "")
    with desk.store.transaction() as records:
        told = story(alert.alert_id, (), Context(desk.now, "", 1, records))
    assert [(table.title, table.rows) for table in told.evidence] == [("Processes by CPU", (row,))]

    assert states(desk.take(cleared(anomaly()))) == ["resolved"]
    first, second = desk.mails()
    assert second.kind == "resolved"
    assert second.thread_id == first.message_id


def test_a_machine_that_does_not_answer_is_said_in_the_mail() -> None:
    desk = Desk()
    desk.take(anomaly())
    assert desk.later(14) == []
    assert desk.mails() == []
    desk.later(2)
    (mail,) = desk.mails()
    assert "no node agent has ever answered from host1" in mail.evidence_note
    assert "services.healer.agent" in mail.evidence_note
    desk.later(60)
    assert len(desk.mails()) == 1


def test_an_agent_that_answered_before_is_told_from_none_at_all() -> None:
    desk = Desk()
    question = only(desk.take(anomaly()), EvidenceCollect)
    desk.take(found(question))
    desk.later(60)
    desk.take(anomaly(SeriesRef(host="host1", item="load.5min"), 2))
    desk.later(16)
    note = desk.mails()[-1].evidence_note
    assert "The node agent on host1 did not answer within 15 s" in note
    assert "it last answered at 2024-01-01 00:00:00 UTC" in note


def test_a_plan_that_does_not_come_is_said_beside_the_evidence() -> None:
    desk = Desk({"rules": [{"items": "df.*", "level": "suggest", "remediation": "clean-logs"}]})
    desk.take(found(only(desk.take(prediction()), EvidenceCollect)))
    assert desk.mails() == []
    desk.later(16)
    (mail,) = desk.mails()
    assert mail.evidence_note == (
        "What clean-logs would do is not known: its plan did not come within 15 s."
    )
    assert mail.evidence


def test_what_a_remediation_brought_about_is_no_new_alarm() -> None:
    def fall(number: int, later_s: float, direction: Direction) -> AnomalyDetected:
        time_ms = NOW_MS + int(later_s * 1000)
        fields = {"value": 20.0, "direction": direction, "time_ms": time_ms}
        return anomaly(DISK, number).model_copy(update=fields)

    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(prediction()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 20.0, NOW + timedelta(seconds=6)))
    first = fall(1, 8, Direction.DROP)
    assert desk.take(first, cleared(first)) == []
    assert len(desk.mails()) == 1
    assert states(desk.take(fall(2, 9, Direction.SPIKE))) == ["firing"]
    other = Desk(AUTOMATIC)
    assert other.take(first) == [], "a person cleaned: a disk is emptied by nothing else"


def test_the_ledger_tells_the_saved_the_foreseen_and_the_missed() -> None:
    desk = Desk(AUTOMATIC)
    desk.take(executed(only(desk.take(prediction()), RemediationExecute)))
    desk.take(observed(only(desk.later(5), ItemRead), 20.0, NOW + timedelta(seconds=6)))
    desk.take(withdrawn(prediction(), "averted"))
    beyond = (Vote(detector="threshold", judged=True, anomalous=True),)
    alarm = anomaly(DISK, 1).model_copy(update={"votes": beyond})
    foreseen = prediction(2, seconds=60)
    desk.take(foreseen, prediction(2, 2, seconds=61), alarm, withdrawn(foreseen, "came_true"))
    desk.take(cleared(alarm))
    desk.later(61)
    desk.take(anomaly(DISK, 2).model_copy(update={"votes": beyond}), anomaly(DISK, 3))
    with desk.store.transaction() as records:
        (score,) = records.find(SCORES)
    assert score.counted_at == desk.now
    assert score.model_dump(exclude={"counted_at"}) == {
        "item": DISK.item,
        "predicted": 2,
        "came_true": 1,
        "false": 0,
        "averted": 1,
        "ended": 0,
        "saved": 1,
        "alarms": 2,
        "missed": 1,
        "accuracy": 1.0,
        "reduction": 1 / 3,
        "missed_rate": 0.5,
    }


def test_a_predicted_alarm_is_remedied_verified_and_told() -> None:
    desk = Desk(AUTOMATIC)

    answers = desk.take(prediction())
    assert only(answers, AlertChanged).handling == "automatic"
    order = only(answers, RemediationExecute)
    assert order.remediation == "clean-logs"
    assert not order.dry_run

    assert states(desk.take(executed(order))) == []
    question = only(desk.later(5), ItemRead)
    answers = desk.take(observed(question, 20.0, NOW + timedelta(seconds=6)))
    verified, alert = only(answers, RemediationVerified), only(answers, AlertChanged)
    assert (verified.before, verified.after, verified.effective) == (80.0, 20.0, True)
    assert alert.state == "resolved"
    assert "from 80 to 20" in alert.outcome
    (mail,) = desk.mails()
    assert mail.kind == "handled"
    assert any("and freed 977 KiB" in action for action in mail.actions)
    assert "Read again afterwards: 20 % (it was 80 %)." in mail.actions
    assert mail.after is not None
    assert (mail.after.value, mail.remediation) == (20.0, "clean-logs")

    assert desk.take(withdrawn(prediction(), "averted")) == []
    assert desk.take(prediction(revision=2, seconds=600)) == [], "it was withdrawn before"


def test_the_fall_that_a_cleaning_causes_does_not_make_it_look_useless() -> None:
    desk = Desk(AUTOMATIC)
    order = only(desk.take(prediction()), RemediationExecute)
    desk.take(executed(order))
    fall = prediction(number=2, seconds=3).model_copy(update={"value": 5.0})
    desk.take(fall)
    question = only(desk.later(5), ItemRead)
    answers = desk.take(observed(question, 8.0, NOW + timedelta(seconds=6)))
    verified = only(answers, RemediationVerified)
    assert (verified.before, verified.after, verified.effective) == (80.0, 8.0, True)


def test_what_is_predicted_again_from_later_data_is_a_new_incident_within_the_cooldown() -> None:
    desk = Desk(AUTOMATIC)
    order = only(desk.take(prediction()), RemediationExecute)
    desk.take(executed(order))
    question = only(desk.later(5), ItemRead)
    desk.take(observed(question, 20.0, NOW + timedelta(seconds=6)))

    assert desk.take(prediction(revision=2, seconds=3)) == [], "data from before the cleaning"
    answers = desk.take(prediction(revision=3, seconds=30))
    assert only(answers, AlertChanged).alert_id != order.incident_id
    assert only(answers, AlertChanged).handling == "mail"
    desk.later(20)
    assert "must lie between two runs" in " ".join(desk.mails()[-1].actions)


@pytest.mark.parametrize(
    ("values", "why"),
    [((85.0,), "did not bring"), ((None,), "could not be read"), ((), "could not be read again")],
)
def test_what_does_not_help_is_escalated(values: tuple[float | None, ...], why: str) -> None:
    desk = Desk(AUTOMATIC)
    order = only(desk.take(prediction()), RemediationExecute)
    desk.take(executed(order))
    question = only(desk.later(5), ItemRead)
    answers = desk.take(*(observed(question, value) for value in values)) or desk.later(31)
    assert only(answers, AlertChanged).handling == "mail"
    assert only(answers, EvidenceCollect).path == "/var/log"
    desk.later(16)
    (mail,) = desk.mails()
    assert mail.kind == "escalated"
    assert why in " ".join(mail.actions)
    assert "du -xh" in mail.suggested_command


def test_a_refusing_and_a_silent_machine_are_escalated() -> None:
    for silent in (True, False):
        desk = Desk(AUTOMATIC)
        order = only(desk.take(prediction()), RemediationExecute)
        answers = desk.later(301) if silent else desk.take(executed(order, succeeded=False))
        assert only(answers, AlertChanged).handling == "mail"
        assert desk.take(executed(order)) == [], "too late or twice"


def test_the_kill_switch_and_a_low_severity_make_it_mail() -> None:
    off = Desk(AUTOMATIC | {"automatic": False})
    assert only(off.take(prediction()), AlertChanged).handling == "mail"
    low = Desk(AUTOMATIC)
    warning = anomaly(DISK, severity=Severity.WARNING)
    assert only(low.take(warning), AlertChanged).handling == "mail"
    low.later(16)
    # It grows worse: now the machine acts.
    assert only(low.take(prediction(2), anomaly(DISK, 2)), RemediationExecute)


def test_a_dry_run_changes_nothing_and_is_mailed() -> None:
    desk = Desk(AUTOMATIC | {"dry_run": True})
    order = only(desk.take(prediction()), RemediationExecute)
    assert order.dry_run
    desk.take(executed(order))
    desk.later(16)
    (mail,) = desk.mails()
    assert "dry run" in " ".join(mail.actions)


def test_a_prediction_that_came_true_goes_over_into_the_alarm() -> None:
    desk = Desk()
    desk.take(prediction())
    desk.later(16)
    assert states(desk.take(withdrawn(prediction(), "came_true"))) == ["firing"]
    assert states(desk.take(anomaly(DISK))) == []
    assert states(desk.take(cleared(anomaly(DISK)))) == ["resolved"]


def test_a_prediction_that_came_true_without_an_alarm_ends_by_the_clock() -> None:
    desk = Desk()
    desk.take(prediction(), withdrawn(prediction(), "came_true"))
    desk.later(16)
    assert states(desk.later(590)) == ["resolved"]


def test_of_what_comes_in_bursts_a_moment_beyond_the_threshold_is_no_alarm_yet() -> None:
    desk = Desk()
    foreseen = prediction().model_copy(update={"series": CPU, "family": "cpu"})
    arrived = withdrawn(foreseen, "came_true").model_copy(update={"series": CPU})
    desk.take(foreseen)
    desk.later(16)
    assert states(desk.take(arrived)) == []
    assert states(desk.take(anomaly(CPU))) == ["firing"]
    desk.later(16)
    assert [mail.kind for mail in desk.mails()] == ["predicted", "firing"]
    other = Desk()
    other.take(foreseen, arrived)
    other.later(16)
    assert states(other.later(590)) == ["resolved"]


def test_an_end_that_overtook_its_beginning_leaves_nothing_open() -> None:
    desk = Desk()
    assert desk.take(cleared(anomaly()), anomaly()) == []


def test_observed_items_are_published_and_not_mailed() -> None:
    desk = Desk({"rules": [{"mode": "observe"}]})
    assert states(desk.take(anomaly(), cleared(anomaly()))) == ["firing", "resolved"]
    assert desk.mails() == []


def test_ended_incidents_are_forgotten() -> None:
    desk = Desk()
    desk.take(anomaly(), cleared(anomaly()))
    desk.later(31 * 86_400)
    assert states(desk.take(anomaly())) == ["firing"]


def test_a_policy_names_every_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"rules": [{"mode": "automatic"}, {"mode": "mail", "wrong": 1}], "cooldown_s": -1}
    with pytest.raises(ValidationError) as caught:
        HealerSettings.model_validate_strings({"policy": json.dumps(bad)})
    text = str(caught.value)
    assert "needs a remediation" in text
    assert "rules.1.wrong" in text
    assert "cooldown_s" in text
    unknown = {"rules": [{"mode": "automatic", "remediation": "reboot"}]}
    with pytest.raises(ValidationError, match="no remediation reboot; there are"):
        HealerSettings.model_validate_strings({"policy": json.dumps(unknown)})


EVENTS: list[Message] = [
    anomaly(DISK),
    cleared(anomaly(DISK)),
    anomaly(DISK, 2, Severity.WARNING),
    cleared(anomaly(DISK, 2)),
    prediction(),
    prediction(revision=2, seconds=1),
    withdrawn(prediction(), "did_not_come"),
]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.permutations([*EVENTS, *EVENTS]), st.lists(st.floats(0, 400), min_size=14, max_size=14))
def test_in_any_order_and_twice_everything_ends_and_no_change_is_told_twice(
    order: list[Message], pauses: list[float]
) -> None:
    desk = Desk(AUTOMATIC)
    told: list[AlertChanged] = []
    for message, pause in zip(order, pauses, strict=True):
        answers = (*desk.take(message), *desk.later(pause))
        told += [answer for answer in answers if isinstance(answer, AlertChanged)]
    for _ in range(4):
        told += [m for m in desk.later(700) if isinstance(m, AlertChanged)]
    numbers: dict[str, list[int]] = {}
    for change in told:
        numbers.setdefault(change.alert_id, []).append(change.sequence)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in numbers.values())
    last = {change.alert_id: change.state for change in told}
    assert set(last.values()) <= {"resolved"}
    assert len({mail.message_id for mail in desk.mails()}) == len(desk.mails())


def test_a_batch_of_alarms_costs_the_same_number_of_statements_whatever_its_size() -> None:
    costs = []
    for size in (2, 60):
        desk = Desk()
        batch = [
            anomaly(series=SeriesRef(host=f"host{number}", item="app.errors"))
            for number in range(size)
        ]
        statements: list[str] = []
        with desk.store.unit() as unit:
            engine = unit.records._connection.engine
            event.listen(
                engine, "before_cursor_execute", lambda *a, noted=statements: noted.append(a[2])
            )
            read_ahead(batch, unit.records)
            for message in batch:
                list(desk.handlers.anomaly_detected(message, Context(NOW, "", 1, unit.records)))
            unit.records.flush()
        costs.append(len(statements))
    assert costs[0] == costs[1] <= 8


@pytest.mark.parametrize("words", ["stopped; audit abc123", "audit 0f0f", "; audit 12"])
def test_what_a_machine_says_of_a_remediation_is_shown_as_it_said_it(words: str) -> None:
    desk = Desk(AUTOMATIC)
    order = only(desk.take(prediction()), RemediationExecute)
    failed = executed(order, succeeded=False)
    desk.take(failed.model_copy(update={"detail": words, "audit": "0f" * 32}))
    with desk.store.transaction() as records:
        (incident,) = records.find(INCIDENTS)
    assert f"failed: {words}." in incident.model_dump_json()
    assert "0f" * 32 not in incident.model_dump_json()
