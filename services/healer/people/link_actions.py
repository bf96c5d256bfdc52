"""The question of a link's page, and the effect of its button, by purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from services.healer.model.action import ACTIONS, Action
from services.healer.model.incident import INCIDENTS
from services.healer.notify.compose import exact_command
from services.healer.notify.links import Link, Purpose
from services.healer.people import alerting_news
from services.healer.people.acknowledgement import NotFound, People
from services.healer.people.decisions import Decisions
from shared.contracts import ActionDecide, AnomalyJudge, Message
from shared.contracts.healing import ActionState
from shared.quantity import counted
from shared.service import Context

Question: TypeAlias = Callable[[Link, Context], str]
"""The question in one sentence. Raises NotFound when there is nothing left to do."""
Deed: TypeAlias = Callable[[Link, Context], tuple[str, Iterable[Message]]]
"""Performs it: the sentence to show, and the messages. Idempotent. Raises NotFound."""


@dataclass(frozen=True)
class Click:
    """One purpose of links."""

    button: str
    question: Question
    deed: Deed
    details: Question = lambda _link, _ctx: ""
    """The lines of text to show before somebody clicks."""


class _LinkActions:
    """Performs the actions of links, with the same code as API and messages."""

    def __init__(self, people: People, decisions: Decisions) -> None:
        self._people, self._decisions = people, decisions

    def acknowledge(self, link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        messages = list(self._people.acknowledge(link.subject, link.by, ctx))
        incident = ctx.records.get(INCIDENTS, link.subject)
        by = incident.acknowledged_by if incident else link.by
        return f"{_alert(link, ctx)} was acknowledged by {by}.", messages

    def silence(self, link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        made = self._people.silence_incident(link.subject, link.by, ctx)
        until = f"{made.ends_at:%Y-%m-%d %H:%M} UTC"
        return f"{_alert(link, ctx)} is silenced until {until}.", [alerting_news.changed(made, ctx)]

    def decide(self, link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        _proposed(link, ctx)
        message = ActionDecide(
            action_id=link.subject, approve=link.purpose == "approve", by=link.by
        )
        messages = list(self._decisions.action_decide(message, ctx))
        now = ctx.records.get(ACTIONS, link.subject)
        said = f"{now.remediation} on {now.target} is {now.state.value}." if now else ""
        return f"{said} {now.reason if now else ''}".strip(), messages

    def call_normal(self, link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        text = _alert(link, ctx)
        message = AnomalyJudge(alert_id=link.subject, anomaly=False, by=link.by, at=ctx.now)
        messages = list(self._decisions.anomaly_judge(message, ctx))
        return f"Values like this of {text} are normal from now on.", messages


def clicks(people: People, decisions: Decisions) -> dict[Purpose, Click]:
    """The acts on alerts that links offer."""
    actions = _LinkActions(people, decisions)
    hours = people.settings.alerting.silence_link_s / 3600
    return {
        "acknowledge": Click(
            "Acknowledge",
            lambda link, ctx: f"Take care of {_alert(link, ctx)}, as {link.by}?",
            actions.acknowledge,
        ),
        "silence": Click(
            "Silence",
            lambda link, ctx: f"Notify nobody of {_alert(link, ctx)} for {hours:g} h?",
            actions.silence,
        ),
        "approve": Click(
            "Approve",
            lambda link, ctx: f"Run {_plan(link, ctx)}, as {link.by}?",
            actions.decide,
            _commands,
        ),
        "deny": Click(
            "Deny", lambda link, ctx: f"Refuse {_plan(link, ctx)}?", actions.decide, _commands
        ),
        "not-an-anomaly": Click(
            "Not an anomaly",
            lambda link, ctx: f"Is this value of {_alert(link, ctx)} normal?",
            actions.call_normal,
        ),
    }


def _alert(link: Link, ctx: Context) -> str:
    incident = ctx.records.get(INCIDENTS, link.subject)
    if incident is None:
        raise NotFound("this alert is no longer remembered")
    return incident.series.text()


def _plan(link: Link, ctx: Context) -> str:
    action = _proposed(link, ctx)
    return f"{action.remediation} on {action.target}, {counted(action.total_steps, 'step')}"


def _proposed(link: Link, ctx: Context) -> Action:
    action = ctx.records.get(ACTIONS, link.subject)
    if action is None or action.state is not ActionState.PROPOSED:
        state = f"it is {action.state.value}" if action else "there is none with this id"
        raise NotFound(f"there is nothing to decide any more: {state}")
    return action


def _commands(link: Link, ctx: Context) -> str:
    return exact_command(_proposed(link, ctx).steps)
