"""Random lives of alerts on the real healer with its store, held against a small model.

``BAROGRAPH_LIVES=10000 python -m pytest tests/property/test_alert_lives.py`` runs as many.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import SecretStr

from services.healer.handlers import Handlers
from services.healer.model.action import ACTIONS
from services.healer.model.incident import INCIDENTS, REMEDYING
from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import NOTICES, NOTIFICATION_STATES, STORM
from services.healer.model.policy import Policy
from services.healer.notify.channels.webhook import Webhook
from services.healer.notify.matchers import labels_of
from services.healer.notify.settings import Alerting
from services.healer.notify.silences import SILENCES, Silence
from services.healer.people.acknowledgement import NotFound
from services.healer.settings import HealerSettings
from shared.contracts import (
    ActionDecide,
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
)
from shared.contracts.alerts import Direction, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.contracts.remediation import RemediationStep
from shared.service import Context
from shared.store import Store
from tests.notification_passes import KilledError, expire, notify
from tests.property.alert_model import Model
from tests.property.memory_store import MemoryStore

SHRINK = os.environ.get("BAROGRAPH_LIVES_SHRINK", "1") == "1"
LIVES_BY_DEFAULT = 30
LIVES = int(os.environ.get("BAROGRAPH_LIVES", LIVES_BY_DEFAULT))
BEGIN = datetime.fromisoformat("2024-01-01T00:00:00+00:00")
SWITCH = SeriesRef(host="switch1", item="switch.up", labels={"rack": "r1"})
BEHIND = SeriesRef(host="host1", item="app.errors", labels={"rack": "r1"})
ELSEWHERE = SeriesRef(host="host2", item="app.errors", labels={"rack": "r2"})
LOAD = SeriesRef(host="host3", item="load.5min")
DISK = SeriesRef(host="host4", item="df.bytes.used.percent", labels={"mount": "/var/log"})
SERIES = (SWITCH, BEHIND, ELSEWHERE, LOAD, DISK)
FAMILIES = {LOAD.text(): "load", DISK.text(): "disk"}
LIMITS = {LOAD.text(): 3.0, DISK.text(): 90.0}
RULE = {"source": ['item="switch.up"'], "target": ['item="app.errors"'], "equal": ["rack"]}
BACK = {"source": ['item="app.errors"'], "target": ['item="switch.up"'], "equal": ["rack"]}
PAGER = Webhook(name="pager", url=SecretStr("http://127.0.0.1:1"), escalation_only=True)
ESCALATION = [{"after_s": 200, "channels": ["pager"]}]
MAIL = {"smtp_url": SecretStr("smtp://127.0.0.1:1"), "mail_to": "a@example.org"}
PAUSES = st.sampled_from([1, 6, 31, 61, 130, 310, 700])
WHICH = st.sampled_from(SERIES)


class Lives(RuleBasedStateMachine):
    """What may happen to alerts, in any order."""

    @initialize(
        circular=st.booleans(),
        storm=st.sampled_from([4, 50]),
        level=st.sampled_from(["automatic", "approve"]),
    )
    def begin(self, circular: bool, storm: int, level: str) -> None:
        rules = [RULE | {"name": "switch"}, *([BACK | {"name": "back"}] if circular else [])]
        self.settings = HealerSettings(
            policy=Policy.model_validate(
                {"rules": [{"items": "df.*", "level": level, "remediation": "clean-logs"}]}
            ),
            alerting=Alerting.model_validate(
                {
                    "inhibit": rules,
                    "storm": {"alerts": storm},
                    "mails_per_hour": 10_000,
                    "escalation": ESCALATION,
                    "repeat_interval_s": 300,
                }
            ),
            channels=(PAGER,),
            **MAIL,
        )
        self.store: Any = Store("sqlite://") if LIVES <= LIVES_BY_DEFAULT else MemoryStore()
        self.uptime = 0.0
        self.replicas = [self._replica(), self._replica()]
        # Writing what was decided costs as much as deciding it.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self.turn = 0
        self.now = BEGIN
        self.number = 0
        self.open: dict[str, str] = {}
        self.predicted: dict[str, AlarmPredicted] = {}
        self.orders: list[Message] = []
        self.last: Message | None = None
        self.silences: list[Silence] = []
        self.seen: set[str] = set()
        self.circular = circular
        self.model = Model(self.settings.alerting, self.settings.evidence_wait_s)

    def teardown(self) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET))
        if hasattr(self, "store"):
            self.store.close()

    # How the healer is driven

    def take(self, message: Message) -> list[AlertChanged]:
        """The message is handled once, or its handling dies and begins anew."""
        self.last = message
        handlers = self.replicas[self.turn % 2]
        handle: dict[type[Message], Any] = {
            AnomalyDetected: handlers.anomaly_detected,
            AnomalyCleared: handlers.anomaly_cleared,
            AlarmPredicted: handlers.alarm_predicted,
            PredictionWithdrawn: handlers.prediction_withdrawn,
            EvidenceCollected: handlers.evidence_collected,
            RemediationExecuted: handlers.remediation_executed,
            ItemObserved: handlers.item_observed,
            ActionDecide: handlers.decisions.action_decide,
        }
        with self.store.transaction() as records:
            answers = list(handle[type(message)](message, Context(self.now, "", 1, records)))
        return self._heard(answers)

    def _heard(self, answers: list[Message]) -> list[AlertChanged]:
        changes = [answer for answer in answers if isinstance(answer, AlertChanged)]
        self.orders += [answer for answer in answers if not isinstance(answer, AlertChanged)]
        for change in changes:
            self.model.published(change, self.now)
        return changes

    def passes(self) -> None:
        self.turn += 1
        handlers = self.replicas[self.turn % 2]
        self._heard(expire(handlers, self.store, self.now))
        notify(handlers, self.store, self.now)
        self._read_notices()
        self._check()

    def _read_notices(self) -> None:
        with self.store.transaction() as records:
            for record in reversed(records.find(NOTICES, limit=30, newest_first=True)):
                if record.notice.message_id not in self.seen:
                    self.seen.add(record.notice.message_id)
                    self._calls_nobody_in_a_silence(record.notice)
                    self.model.notified(record.notice, self.now)

    def _calls_nobody_in_a_silence(self, notice: Notice | Summary) -> None:
        if isinstance(notice, Notice) and notice.kind == "unanswered":
            assert not self._muted(notice.series, notice.severity), "what is silenced calls nobody"

    def _check(self) -> None:
        with self.store.transaction() as records:
            storm = records.get(STORM, "storm")
            working = {i.incident_id for i in records.find(INCIDENTS, status=REMEDYING)}
            held = records.find(NOTIFICATION_STATES, status="held")
        for notification in held:
            assert notification.held_by, "what holds an alert has a name"
            assert notification.due is not None, "what holds an alert says until when"
        self.model.check(
            self.now,
            silenced=self._muted,
            ends_muted=lambda series, severity: self._muted(series, severity, ends=True),
            storm=storm is not None and storm.active,
            cause=self._cause,
            working=working,
        )

    def _muted(self, series: SeriesRef, severity: Severity, *, ends: bool = False) -> bool:
        labels = labels_of(series, FAMILIES.get(series.text(), "other"), severity)
        return any(
            silence.covers(labels)
            and silence.open_until(self.now) is not None
            and not (ends and silence.tell_resolved)
            for silence in self.silences
        )

    def _cause(self, series: SeriesRef) -> SeriesRef | None:
        if series == BEHIND:
            return SWITCH
        return BEHIND if self.circular and series == SWITCH else None

    # Events that may happen

    @rule(pause=PAUSES)
    def time_passes(self, pause: int) -> None:
        step = max(min(15.0, pause), pause / 20)
        end = self.now + timedelta(seconds=pause)
        while self.now < end:
            passed = min(end, self.now + timedelta(seconds=step)) - self.now
            self.now, self.uptime = self.now + passed, self.uptime + passed.total_seconds()
            self.passes()

    @rule(series=WHICH, severity=st.sampled_from([Severity.WARNING, Severity.CRITICAL]))
    def it_goes_wrong(self, series: SeriesRef, severity: Severity) -> None:
        self.number += 1
        event_id = deterministic_id("anomaly", self.number)
        self.open[event_id] = series.text()
        limit = LIMITS.get(series.text(), 5.0)
        self.take(
            AnomalyDetected(
                event_id=event_id,
                series=series,
                family=FAMILIES.get(series.text(), "other"),
                severity=severity,
                time_ms=self._ms(),
                value=limit * 1.1,
                direction=Direction.SPIKE,
                periodic=None,
                votes=(),
                sentence="it is beyond its threshold",
                threshold=limit,
            )
        )

    @rule(share=st.sampled_from([0.1, 0.99]), first=st.booleans())
    def it_is_well_again(self, share: float, first: bool) -> None:
        if not self.open:
            return
        event_id = list(self.open)[0 if first else -1]
        text = self.open.pop(event_id)
        series = next(each for each in SERIES if each.text() == text)
        self.take(
            AnomalyCleared(
                event_id=event_id,
                series=series,
                family=FAMILIES.get(text, "other"),
                time_ms=self._ms(),
                value=LIMITS.get(text, 5.0) * share,
            )
        )

    @rule(series=WHICH, times=st.integers(3, 8), pause=st.sampled_from([2, 20, 40]))
    def it_comes_and_goes(self, series: SeriesRef, times: int, pause: int) -> None:
        for _ in range(times):
            self.it_goes_wrong(series, Severity.CRITICAL)
            self.time_passes(pause)
            self.it_is_well_again(0.1, first=False)
            self.time_passes(pause)

    @rule(ahead=st.sampled_from([-60, 20, 900]), probability=st.sampled_from([None, 0.2, 0.9]))
    def the_disk_is_predicted_to_fill(self, ahead: int, probability: float | None) -> None:
        self.number += 1
        crossing_ms = self._ms() + ahead * 1000
        message = AlarmPredicted(
            event_id=deterministic_id("prediction", self.number),
            series=DISK,
            family="disk",
            time_ms=self._ms(),
            value=80.0,
            threshold=90.0,
            above=True,
            crossing_ms=crossing_ms,
            earliest_ms=crossing_ms,
            latest_ms=None,
            predicted_value=97.0,
            probability=probability,
            forecaster="drift",
            sentence="it will cross",
        )
        changes = self.take(message)
        assert not (changes and ahead < 0), "a prediction of the past says nothing"
        self.predicted[message.event_id] = message

    @rule(outcome=st.sampled_from(["did_not_come", "averted", "came_true"]))
    def the_prediction_ends(self, outcome: Any) -> None:
        if not self.predicted:
            return
        message = self.predicted.pop(next(iter(self.predicted)))
        self.take(
            PredictionWithdrawn(
                event_id=message.event_id,
                series=DISK,
                family="disk",
                time_ms=self._ms(),
                value=80.0,
                outcome=outcome,
            )
        )

    @rule()
    def somebody_cleans_the_disk(self) -> None:
        self.number += 1
        changes = self.take(
            AnomalyDetected(
                event_id=deterministic_id("fall", self.number),
                series=DISK,
                family="disk",
                severity=Severity.WARNING,
                time_ms=self._ms(),
                value=20.0,
                direction=Direction.DROP,
                periodic=None,
                votes=(),
                sentence="it fell",
                threshold=90.0,
            )
        )
        assert not changes, "what a healing brings about is no alarm"

    @rule(succeeds=st.booleans(), value=st.sampled_from([20.0, 95.0, None]))
    def the_machine_answers(self, succeeds: bool, value: float | None) -> None:
        if not self.orders:
            return
        order = self.orders.pop(0)
        if isinstance(order, EvidenceCollect):
            self.take(
                EvidenceCollected(
                    command_id=order.command_id,
                    host=order.host,
                    family=order.family,
                    title="Processes",
                    rows=(),
                    at=self.now,
                )
            )
        elif isinstance(order, RemediationExecute):
            self.take(
                RemediationExecuted(
                    command_id=order.command_id,
                    incident_id=order.incident_id,
                    host=order.host,
                    remediation=order.remediation,
                    dry_run=order.dry_run,
                    succeeded=succeeds,
                    steps=(RemediationStep(action="delete", target="/a", identity="1:2"),),
                    total_steps=1,
                    detail="" if succeeds else "no allowed root",
                    at=self.now,
                )
            )
        elif isinstance(order, ItemRead):
            self.take(
                ItemObserved(
                    command_id=order.command_id,
                    incident_id=order.incident_id,
                    series=order.series,
                    value=value,
                    at=self.now,
                )
            )

    @rule(series=WHICH, length=st.sampled_from([40, 400]), tell=st.booleans())
    def somebody_silences(self, series: SeriesRef, length: int, tell: bool) -> None:
        silence = Silence.model_validate(
            {
                "silence_id": f"s{len(self.silences)}",
                "matchers": [f'host="{series.host}"'],
                "starts_at": self.now,
                "ends_at": self.now + timedelta(seconds=length),
                "owner": "Ann",
                "reason": "work",
                "tell_resolved": tell,
            }
        )
        self.silences.append(silence)
        with self.store.transaction() as records:
            records.put(SILENCES, silence)

    @rule(series=WHICH, begins=st.sampled_from([0, 60]), length=st.sampled_from([60, 400]))
    def a_window_recurs(self, series: SeriesRef, begins: int, length: int) -> None:
        first = self.now.replace(tzinfo=None) + timedelta(seconds=begins)
        window = Silence.model_validate(
            {
                "silence_id": f"s{len(self.silences)}",
                "matchers": [f'host="{series.host}"'],
                "starts_at": self.now,
                "ends_at": self.now + timedelta(days=300),
                "owner": "Ann",
                "reason": "maintenance",
                "recurrence": {"rule": "FREQ=DAILY", "first": first, "duration_s": length},
            }
        )
        self.silences.append(window)
        with self.store.transaction() as records:
            self.replicas[0].people.silence(window, Context(self.now, "", 1, records))

    @rule(hours=st.sampled_from([-1, 1]))
    def the_clock_is_set(self, hours: int) -> None:
        for handlers in self.replicas:  # each has seen the clock before
            self._heard(expire(handlers, self.store, self.now))
        before, self.now = self.now, self.now + timedelta(hours=hours)
        self.model.clock_set(before, self.now)
        self.passes()

    @rule()
    def somebody_acknowledges(self) -> None:
        number = next((n for n, life in self.model.lives.items() if life.closed is None), None)
        if number is None:
            return
        with self.store.transaction() as records:
            context = Context(self.now, "", 1, records)
            try:
                answers = list(self.replicas[0].people.acknowledge(number, "Ann", context))
            except NotFound:
                answers = []
        self._heard(answers)

    @rule(approve=st.booleans())
    def somebody_decides(self, approve: bool) -> None:
        with self.store.transaction() as records:
            proposed = records.find(ACTIONS, status="proposed", newest_first=True, limit=1)
        for action in proposed:
            self.take(ActionDecide(action_id=action.action_id, approve=approve, by="Ann"))

    @rule()
    def the_last_message_comes_again(self) -> None:
        if self.last is not None:
            again = self.last
            self.take(again)

    @rule(part=st.integers(0, 6))
    def a_replica_dies_in_the_middle_of_a_pass(self, part: int) -> None:
        sent: list[Message] = []
        with suppress(KilledError):
            expire(self.replicas[0], self.store, self.now, part, sent)
        self._heard(sent)
        with suppress(KilledError):
            notify(self.replicas[0], self.store, self.now, killed_in=part)
        self._read_notices()
        self.replicas[0] = self._replica()

    def _replica(self) -> Handlers:
        """One whose transactions are small, so that there is much between which it may die."""
        return Handlers(self.settings, lambda: self.uptime, alerts_at_once=2)

    def _ms(self) -> int:
        return int(self.now.timestamp() * 1000)

    @invariant()
    def nothing_is_open_twice(self) -> None:
        if not hasattr(self, "model"):
            return
        open_ones = [life.series.text() for life in self.model.lives.values() if not life.closed]
        assert len(open_ones) == len(set(open_ones)), "a series has one open incident at most"


Lives.TestCase.settings = settings(
    max_examples=LIVES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if SHRINK else [])],
)
# Many lives are led on a store in memory; they take as long as they take.
TestLives = Lives.TestCase if LIVES <= LIVES_BY_DEFAULT else pytest.mark.timeout(0)(Lives.TestCase)
