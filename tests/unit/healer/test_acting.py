"""Levels, approvals and the envelope around every action, without any server."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.actions import audit
from services.healer.agent import handlers
from services.healer.agent.records import HALTS
from services.healer.model.action import ACTIONS, LEASES, MACHINES, OUTCOMES, Machine, stopped
from services.healer.model.decision import Decision, Facts
from services.healer.model.notice import Notice
from services.healer.model.policy import Group, Policy, Quiet
from services.healer.notify.compose import exact_command
from services.healer.remediations.audit import verify_lines
from shared.contracts import (
    ActionChanged,
    ActionDecide,
    AlertChanged,
    AnomalyJudge,
    AnomalyJudged,
    EvidenceCollect,
    EvidenceCollected,
    HealingResume,
    HealingStop,
    HealingSwitched,
    ItemRead,
    Message,
    RemediationExecute,
    RemediationExecuted,
    RemediationVerified,
)
from shared.contracts.alerts import AnomalyKind, SeriesRef, Severity
from shared.contracts.healing import ActionState, Level
from shared.contracts.remediation import RemediationStep
from shared.service import Context
from shared.store import Collection, Store
from tests.unit.healer import test_incidents as base
from tests.unit.healer.test_incidents import (
    CPU,
    DISK,
    NOW,
    anomaly,
    cleared,
    executed,
    observed,
    only,
    prediction,
    states,
)

APPROVE = {"rules": [{"items": "df.*", "level": "approve", "remediation": "clean-logs"}]}
SUGGEST = {"rules": [{"items": "df.*", "level": "suggest", "remediation": "clean-logs"}]}


class Desk(base.Desk):
    def __init__(self, policy: dict[str, Any] | None = None, **alerting: Any) -> None:
        super().__init__(policy, **alerting)
        self._table |= {
            ActionDecide: self.handlers.decisions.action_decide,
            HealingStop: self.handlers.decisions.healing_stop,
            HealingResume: self.handlers.decisions.healing_resume,
            AnomalyJudge: self.handlers.decisions.anomaly_judge,
        }

    def propose(self, alarm: Message | None = None) -> tuple[str, Notice]:
        """Up to the mail that asks for approval."""
        answers = self.take(alarm or prediction())
        plan, question = only(answers, RemediationExecute), only(answers, EvidenceCollect)
        assert plan.dry_run
        (changed,) = [m for m in self.take(planned(plan)) if isinstance(m, ActionChanged)]
        self.take(found(question))
        return changed.action_id, self.mails()[-1]

    def action(self, action_id: str) -> Any:
        with self.store.transaction() as records:
            return records.get(ACTIONS, action_id)


def planned(order: RemediationExecute) -> RemediationExecuted:
    step = RemediationStep(
        action="delete",
        target="/var/log/a.1",
        freed_bytes=10**6,
        identity="1:2",
        command="rm -- /var/log/a.1",
    )
    return executed(order).model_copy(update={"steps": (step,)})


def found(question: EvidenceCollect) -> EvidenceCollected:
    return EvidenceCollected(
        command_id=question.command_id, host="host1", family="disk", title="Biggest files", at=NOW
    )


def decide(action_id: str, *, approve: bool = True, by: str = "ann") -> ActionDecide:
    return ActionDecide(action_id=action_id, approve=approve, by=by)


def stop(hosts: str = "*", at: datetime = NOW) -> HealingStop:
    return HealingStop(switch_id=str(uuid.uuid4()), hosts=hosts, by="bob", reason="test", at=at)


def changes(messages: list[Message]) -> list[str]:
    return [m.state.value for m in messages if isinstance(m, ActionChanged)]


def test_a_stop_that_comes_twice_is_told_and_audited_once() -> None:
    desk = Desk(SUGGEST)
    order = stop("web-*")
    assert len(desk.take(order)) == 1
    assert desk.take(order.model_copy()) == []


def test_a_suggestion_comes_with_the_exact_command_and_runs_nothing() -> None:
    desk = Desk(SUGGEST)
    answers = desk.take(prediction())
    plan, question = only(answers, RemediationExecute), only(answers, EvidenceCollect)
    assert plan.dry_run
    assert only(answers, AlertChanged).handling == "mail"
    desk.take(found(question))
    assert desk.mails() == [], "the plan is still on its way"
    assert changes(desk.take(planned(plan))) == []
    (mail,) = desk.mails()
    assert mail.suggested_command == "rm -- /var/log/a.1"
    assert mail.approval_id == ""
    assert not [m for m in desk.later(7200) if isinstance(m, RemediationExecute)]


def test_what_is_approved_is_carried_out_as_it_was_shown_and_verified() -> None:
    desk = Desk(APPROVE)
    action_id, mail = desk.propose()
    assert mail.approval_id == action_id
    assert mail.suggested_command == "rm -- /var/log/a.1"

    answers = desk.take(decide(action_id))
    order = only(answers, RemediationExecute)
    assert not order.dry_run
    assert order.only == ("1:2",)
    assert order.fence == 1
    assert only(answers, ActionChanged).by == "ann"
    assert only(answers, AlertChanged).handling == "automatic"

    desk.take(executed(order))
    answers = desk.take(observed(only(desk.later(5), ItemRead), 20.0))
    assert only(answers, RemediationVerified).saved
    assert changes(answers) == ["verified"]
    assert desk.mails()[-1].kind == "handled"
    with desk.store.transaction() as records:
        (outcome,) = records.find(OUTCOMES, status="saved")
        assert outcome.remediation == "clean-logs"
        assert not records.find(LEASES, status="held")


def test_the_first_decision_holds_and_repeating_it_does_nothing() -> None:
    desk = Desk(APPROVE)
    action_id, _ = desk.propose()
    assert changes(desk.take(decide(action_id, approve=False))) == ["refused"]
    assert desk.take(decide(action_id), decide(action_id)) == []
    again = Desk(APPROVE)
    action_id, _ = again.propose()
    answers = again.take(decide(action_id), decide(action_id), decide(action_id, approve=False))
    assert len([m for m in answers if isinstance(m, RemediationExecute)]) == 1
    assert changes(answers) == ["running"]


def test_a_proposal_nobody_decides_on_expires_is_escalated_and_cannot_be_approved() -> None:
    desk = Desk(APPROVE | {"approval_s": 900})
    action_id, _ = desk.propose(anomaly(DISK))
    answers = desk.later(901)
    assert changes(answers) == ["expired"]
    desk.take(found(only(answers, EvidenceCollect)))
    mail = desk.mails()[-1]
    assert mail.kind == "escalated"
    assert mail.approval_id == ""
    assert "expired: nobody decided" in " ".join(mail.actions)
    assert desk.take(decide(action_id)) == []


def test_an_approval_that_comes_just_before_the_clock_has_looked_is_late_all_the_same() -> None:
    desk = Desk(APPROVE | {"approval_s": 900})
    action_id, _ = desk.propose()
    desk.now += timedelta(seconds=900)
    answers = desk.take(decide(action_id))
    assert changes(answers) == ["expired"]
    assert not [m for m in answers if isinstance(m, RemediationExecute)]


def test_what_was_proposed_is_withdrawn_when_the_alarm_ends() -> None:
    desk = Desk(
        APPROVE | {"rules": [{"items": "*", "level": "approve", "remediation": "clean-logs"}]}
    )
    plan = only(desk.take(anomaly(DISK)), RemediationExecute)
    desk.take(planned(plan))
    answers = desk.take(cleared(anomaly(DISK)))
    assert changes(answers) == ["withdrawn"]
    (action,) = [m for m in answers if isinstance(m, ActionChanged)]
    assert desk.take(decide(action.action_id)) == []


def test_an_approval_without_a_plan_waits_for_one() -> None:
    desk = Desk(APPROVE)
    desk.take(prediction())
    desk.later(16)
    with desk.store.transaction() as records:
        (action,) = records.find(ACTIONS)
    answers = desk.take(decide(action.action_id))
    assert changes(answers) == ["proposed"]
    assert "plan has not come" in only(answers, ActionChanged).reason


def test_the_kill_switch_stops_what_would_begin_and_says_who_threw_it() -> None:
    desk = Desk(APPROVE)
    action_id, _ = desk.propose()
    assert only(desk.take(stop()), HealingSwitched).stopped
    answers = desk.take(decide(action_id))
    assert "stopped by bob (test)" in only(answers, ActionChanged).reason
    assert not [m for m in answers if isinstance(m, RemediationExecute)]
    resume = HealingResume(switch_id=str(uuid.uuid4()), by="bob", at=NOW + timedelta(seconds=1))
    assert not only(desk.take(resume), HealingSwitched).stopped
    assert only(desk.take(decide(action_id)), RemediationExecute)


def test_the_kill_switch_is_for_the_machines_it_names_and_the_later_message_holds() -> None:
    desk = Desk(base.AUTOMATIC)
    desk.take(stop("other*"))
    assert not only(desk.take(prediction()), RemediationExecute).dry_run
    late = Desk(base.AUTOMATIC)
    resume = HealingResume(switch_id=str(uuid.uuid4()), hosts="host*", by="bob", at=NOW)
    late.take(stop("host*", NOW + timedelta(seconds=1)), resume)
    late.take(prediction())
    with late.store.transaction() as records:
        assert not records.find(LEASES, status="held")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_latest_use_of_the_kill_switch_holds_in_any_order(order: tuple[int, ...]) -> None:
    """On the healer and on the machine alike."""
    first, last = stop(), stop(at=NOW + timedelta(seconds=2))
    resume = HealingResume(switch_id=str(uuid.uuid4()), by="bob", at=NOW + timedelta(seconds=1))
    for used, holds in (((first, resume), False), ((first, resume, last), True)):
        desk, store = Desk(APPROVE), Store("sqlite://")
        for message in (used[n] for n in order if n < len(used)):
            desk.take(message)
            with store.transaction() as records:
                context = Context(NOW, "", 1, records)
                if isinstance(message, HealingStop):
                    handlers.healing_stop(message, context, host="host1")
                else:
                    handlers.healing_resume(message, context, host="host1")
        with desk.store.transaction() as records:
            assert bool(stopped(records, "host1")) is holds
        with store.transaction() as records:
            assert bool(records.find(HALTS)) is holds


def test_the_same_disk_filling_again_at_once_is_escalated_and_never_a_loop() -> None:
    policy = base.AUTOMATIC | {"attempts_per_day": 2, "cooldown_s": 600}
    desk = Desk(policy, flapping={"start": 1000.0})
    orders = 0
    for number in range(1, 8):
        answers = desk.take(prediction(number, seconds=number * 1000))
        real = [m for m in answers if isinstance(m, RemediationExecute) and not m.dry_run]
        orders += len(real)
        if real:
            desk.take(executed(real[0]))
            question = only(desk.later(5), ItemRead)
            desk.take(observed(question, 20.0, NOW + timedelta(seconds=number * 1000 - 1)))
        else:
            assert only(answers, AlertChanged).handling == "mail"
            desk.later(16)
            assert desk.mails()[-1].kind == "escalated"
            desk.take(base.withdrawn(prediction(number), "averted"))
        desk.later(200)
    assert orders == 2
    assert "which is the limit" in " ".join(desk.mails()[-2].actions)


def test_a_verified_failure_is_told_as_one() -> None:
    desk = Desk(base.AUTOMATIC)
    order = only(desk.take(prediction()), RemediationExecute)
    desk.take(executed(order))
    answers = desk.take(observed(only(desk.later(5), ItemRead), 95.0))
    assert changes(answers) == ["failed"]
    with desk.store.transaction() as records:
        assert [o.effective for o in records.find(OUTCOMES)] == [False]


def test_a_label_goes_to_the_detector_with_its_shape_and_value() -> None:
    desk = Desk()
    alert = only(desk.take(anomaly()), AlertChanged)
    judge = AnomalyJudge(alert_id=alert.alert_id, anomaly=False, by="ann", at=NOW)
    label = only(desk.take(judge), AnomalyJudged)
    assert (label.series, label.value, label.anomaly) == (CPU, 4.0, False)
    assert (label.direction, label.alert_id) == ("spike", alert.alert_id)
    later = {"at": NOW + timedelta(minutes=1)}
    again = only(desk.take(judge.model_copy(update=later)), AnomalyJudged)
    assert again.label_id != label.label_id, "it may have been undone in between"
    unknown = judge.model_copy(update={"alert_id": str(uuid.uuid4())})
    assert desk.take(unknown) == []


def test_every_decision_is_in_a_chain_that_verifies_and_replays() -> None:
    desk = Desk(APPROVE)
    action_id, _ = desk.propose()
    desk.take(decide(action_id), stop())
    with desk.store.transaction() as records:
        lines = list(audit.lines(records))
        head = records.get(audit.HEADS, "head")
    assert head is not None
    assert verify_lines(lines, head.hash) == []
    assert audit.replay(lines) == []
    events = [json.loads(line)["event"] for line in lines]
    assert events == [
        "policy",
        "decided",
        "action proposed",
        "action decide",
        "action running",
        "healing.stop",
    ]
    forged = [line.replace(b'"ann"', b'"eve"') for line in lines]
    assert verify_lines(forged) != []
    other = [line.replace(b'"level": "approve"', b'"level": "automatic"', 1) for line in lines[:1]]
    assert audit.replay([*other, *lines[1:]]) != []


HOST = SeriesRef(host="web-1", item="df.bytes.used.percent")
RULE = {"rules": [{"level": "automatic", "remediation": "clean-logs"}]}


def decided(policy: dict[str, Any], **facts: Any) -> Decision:
    return Policy.model_validate(RULE | policy).decide(HOST, Severity.CRITICAL, Facts(**facts))


@pytest.mark.parametrize(
    ("policy", "facts", "why"),
    [
        ({"automatic": False}, {}, "switched off in the policy"),
        ({}, {"stopped": "bob"}, "stopped by bob"),
        ({}, {"held_by": "x"}, "another action is under way"),
        ({}, {"runs_on_host": 6}, "ran on this machine"),
        ({}, {"runs": 60}, "which is the limit"),
        ({}, {"storm": True}, "storm of alerts"),
        ({}, {"seconds_since_same": 30.0}, "must lie between two runs"),
        ({}, {"attempts": 5}, "helps only for a while"),
        (
            {"groups": [{"name": "web", "hosts": "web-*", "share": 0.25}]},
            {"group": "web", "group_size": 8, "group_active": 2},
            "2 of the 8 machines of web",
        ),
    ],
)
def test_what_the_envelope_forbids_is_only_suggested_with_the_reason(
    policy: dict[str, Any], facts: dict[str, Any], why: str
) -> None:
    decision = decided(policy, **facts)
    assert decision.level is Level.SUGGEST
    assert why in decision.reason


def test_in_quiet_hours_what_would_run_asks_for_approval() -> None:
    quiet = {"quiet": [{"start": "09:00", "end": "17:00", "zone": "Asia/Shanghai"}]}
    noon = datetime(2024, 1, 1, 4, tzinfo=UTC)
    assert decided(quiet, now=noon).level is Level.APPROVE
    assert decided(quiet, now=noon + timedelta(hours=8)).level is Level.AUTOMATIC


@pytest.mark.parametrize("zone", ["Europe", "America/Argentina", "a" * 300, "../UTC", "", "\x00"])
def test_what_is_no_time_zone_is_named(zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        Quiet.model_validate({"start": "22:00", "end": "06:00", "zone": zone})


def test_hours_over_midnight_belong_to_the_day_they_begin() -> None:
    nights = Quiet.model_validate({"days": ["fri"], "start": "22:00", "end": "06:00"})
    friday = datetime(2024, 1, 5, 23, tzinfo=UTC)
    assert nights.holds(friday)
    assert nights.holds(friday + timedelta(hours=6))
    assert not nights.holds(friday + timedelta(hours=7))
    assert not nights.holds(friday - timedelta(hours=22))


@given(st.floats(0.01, 1), st.integers(0, 10_000))
def test_a_group_may_always_work_on_one_and_never_on_more_than_its_share(
    share: float, size: int
) -> None:
    most = Group(name="g", hosts="*", share=share).most(size)
    assert most == 1 or most <= share * size + 1e-6


def test_no_more_of_a_group_than_its_share_is_worked_on_at_once() -> None:
    policy = base.AUTOMATIC | {"groups": [{"name": "web", "hosts": "web-*", "share": 0.25}]}
    desk = Desk(policy)
    with desk.store.transaction() as records:
        for number in range(8):
            records.put(MACHINES, Machine(host=f"web-{number}", seen=NOW))
    orders = 0
    for number in range(5):
        series = DISK.model_copy(update={"host": f"web-{number}"})
        answers = desk.take(anomaly(series, number))
        orders += sum(isinstance(m, RemediationExecute) and not m.dry_run for m in answers)
    assert orders == 2


def test_a_groups_machines_are_counted_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = base.AUTOMATIC | {"groups": [{"name": "web", "hosts": "web-*", "share": 0.25}]}
    desk, counted = Desk(policy), []

    def noted(collection: Collection[Any], **given: Any) -> list[Any]:
        counted.append(collection.name)
        return found(collection, **given)

    with desk.store.transaction() as records:
        found = records.find
        monkeypatch.setattr(records, "find", noted)
        for number, seconds in enumerate((0, 30, 59, 61)):
            series = DISK.model_copy(update={"host": f"web-{number}"})
            context = Context(NOW + timedelta(seconds=seconds), "", 1, records)
            list(desk.handlers.anomaly_detected(anomaly(series, number), context))
    assert counted.count(MACHINES.name) == 2


def test_machines_that_are_gone_widen_no_groups_share_and_are_forgotten() -> None:
    policy = base.AUTOMATIC | {"groups": [{"name": "web", "hosts": "web-*", "share": 0.25}]}
    desk = Desk(policy)
    with desk.store.transaction() as records:
        for number in range(8):
            records.put(MACHINES, Machine(host=f"web-{number}", seen=NOW - timedelta(days=2)))
    orders = 0
    for number in range(8, 12):
        series = DISK.model_copy(update={"host": f"web-{number}"})
        answers = desk.take(anomaly(series, number))
        orders += sum(isinstance(m, RemediationExecute) and not m.dry_run for m in answers)
    assert orders == 1
    desk.later(29 * 86_400)
    with desk.store.transaction() as records:
        assert {m.host for m in records.find(MACHINES)} == {f"web-{n}" for n in range(8, 12)}


def test_a_rule_may_ask_for_labels_and_give_its_proposals_their_own_time() -> None:
    policy = Policy.model_validate(
        {
            "approval_s": 900,
            "rules": [
                {
                    "labels": {"mount": "/var/log*", "disk": "s?a"},
                    "level": "approve",
                    "remediation": "clean-logs",
                    "approval_s": 60,
                },
                {"labels": {"mount": "*"}, "level": "observe"},
            ],
        }
    )

    def series(**labels: str) -> SeriesRef:
        return SeriesRef(host="h", item="df.bytes.used.percent", labels=labels)

    logs = series(mount="/var/log/app", disk="sda")

    def level(of: SeriesRef) -> Level:
        return policy.decide(of, Severity.CRITICAL, Facts()).level

    assert level(logs) is Level.APPROVE
    assert level(series(mount="/var/log/app")) is Level.OBSERVE
    assert [policy.decidable_s(s, AnomalyKind.OTHER) for s in (logs, series())] == [60, 900]


def test_levels_are_chosen_by_item_machine_and_namespace() -> None:
    policy = Policy.model_validate(
        {
            "rules": [
                {"namespaces": "prod-*", "level": "approve", "remediation": "clean-logs"},
                {"hosts": "build-*", "level": "observe"},
                {"items": "df.*", "mode": "mail"},
                {"namespaces": "dev", "level": "automatic", "remediation": "clean-logs"},
            ]
        }
    )

    def level(host: str, item: str, **labels: str) -> Level:
        series = SeriesRef(host=host, item=item, labels=labels)
        return policy.decide(series, Severity.CRITICAL, Facts()).level

    assert level("h", "cpu.idle", namespace="prod-eu") is Level.APPROVE
    assert level("build-1", "df.bytes.used.percent") is Level.OBSERVE
    assert level("h", "df.bytes.used.percent") is Level.SUGGEST
    assert level("h", "cpu.idle", namespace="dev") is Level.AUTOMATIC
    assert level("h", "cpu.idle") is Level.SUGGEST


def test_states_of_actions_are_told_in_order() -> None:
    desk = Desk(APPROVE)
    action_id, _ = desk.propose()
    told = desk.take(decide(action_id))
    order = only(told, RemediationExecute)
    told += desk.take(executed(order))
    told += desk.take(observed(only(desk.later(5), ItemRead), 20.0))
    numbers = [m.sequence for m in told if isinstance(m, ActionChanged)]
    assert numbers == [2, 3, 4]
    assert desk.action(action_id).state is ActionState.VERIFIED
    assert states(told) == ["predicted", "resolved"]


def test_a_command_is_shown_with_what_it_changes_and_nothing_else_can_stand_on_its_line() -> None:
    steps = [
        RemediationStep(
            action="kill",
            target=f"process {n} (ann): evil\nrm -rf /",
            diff="running -> ended",
            command=f"kill -TERM {n}",
        )
        for n in range(12)
    ]
    lines = exact_command(steps).splitlines()
    assert lines[:2] == ["# 'process 0 (ann): evil rm -rf /: running -> ended'", "kill -TERM 0"]
    assert {line.split()[0] for line in lines} == {"#", "kill"}
    assert lines[-1] == "# and 2 more like these"


def test_a_remediation_makes_no_news_of_a_prediction_that_is_past() -> None:
    desk = Desk(APPROVE, group_wait_s=5)
    answers = desk.take(prediction().model_copy(update={"crossing_ms": base.NOW_MS + 20_000}))
    plan, question = only(answers, RemediationExecute), only(answers, EvidenceCollect)
    desk.take(found(question))
    (changed,) = [m for m in desk.take(planned(plan)) if isinstance(m, ActionChanged)]
    desk.now += timedelta(seconds=60)
    (order,) = [
        m for m in desk.take(decide(changed.action_id)) if isinstance(m, RemediationExecute)
    ]
    assert not order.dry_run
    desk.later(30)
    assert desk.mails() == []
