"""An incident as one chain from its forecast to its entry in the ledger; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from services.client.alerts.actions import ActionView
from services.client.alerts.model import Incident
from services.client.alerts.records import AlertView, Episode
from services.client.alerts.wording import crossing_range, measured
from shared.contracts import ActionState, Level
from shared.contracts.alerts import AlertState
from shared.quantity import quantity


class LinkState(StrEnum):
    """The state of a link of the chain."""

    DONE = "done"
    WAITS = "waits"
    """This link is the next one to happen."""
    WRONG = "wrong"
    AHEAD = "ahead"
    LEFT_OUT = "left out"
    """The chain goes on without it."""


@dataclass(frozen=True)
class Link:
    """One link of the chain, with a sentence about what is known."""

    name: str
    state: LinkState
    text: str
    at: datetime | None = None


_STOPPED = (ActionState.REFUSED, ActionState.EXPIRED, ActionState.WITHDRAWN)
_OUTCOMES = {
    "came_true": "The prediction counts as come true.",
    "did_not_come": "The prediction counts as false.",
    "averted": "The prediction counts as averted: no alarm had to fire.",
    "series_ended": "Its series sends nothing any more: the prediction counts neither way.",
}
_NO_PLAN = "No remediation was planned; people decide what to do."


def chain(incident: Incident, now: datetime) -> list[Link]:
    """Forecast, alarm, dry run, approval, action, value after and ledger."""
    alert = incident.alert
    episodes = [e for e in incident.episodes if e.kind == "prediction"]
    action = incident.actions[-1] if incident.actions else None
    return [
        _forecast(episodes, now),
        _alarm(incident),
        _dry_run(action),
        _approval(action, now),
        _action(action),
        _value_after(incident, action),
        _ledger(alert, episodes),
    ]


def _forecast(episodes: Sequence[Episode], now: datetime) -> Link:
    predicted = next((e for e in episodes if e.opened_ms is not None), None)
    if predicted is None:
        return Link("Forecast", LinkState.LEFT_OUT, "It was not predicted.")
    limit = measured(predicted.threshold, predicted.item)
    chance = "" if predicted.probability is None else f" ({100 * predicted.probability:.0f} %)"
    text = f"{limit} {crossing_range(predicted, now.date())}{chance}."
    return Link("Forecast", LinkState.DONE, text, _at(predicted.opened_ms))


def _alarm(incident: Incident) -> Link:
    alert = incident.alert
    fired = next((e for e in incident.events if e.kind.startswith("firing")), None)
    limit = (
        "" if alert.threshold is None else f", threshold {measured(alert.threshold, alert.item)}"
    )
    if fired is not None or alert.state is AlertState.FIRING:
        text = f"{measured(alert.value, alert.item)}{limit}."
        state = LinkState.WRONG if alert.is_open else LinkState.DONE
        return Link("Alarm", state, text, fired.at if fired else alert.first_at)
    if not alert.is_open:
        return Link("Alarm", LinkState.LEFT_OUT, "It never had to fire.")
    return Link("Alarm", LinkState.AHEAD, f"Not yet: {measured(alert.value, alert.item)}{limit}.")


def _dry_run(action: ActionView | None) -> Link:
    if action is None:
        return Link("Dry run", LinkState.LEFT_OUT, _NO_PLAN)
    count = action.total_steps
    steps = f", {count} {'step' if count == 1 else 'steps'}" if count else ""
    freed = action.freed_bytes
    effect = f", {quantity(freed, 'bytes')}" if freed else ""
    return Link("Dry run", LinkState.DONE, f"{action.remediation}{steps}{effect}.")


def _approval(action: ActionView | None, now: datetime) -> Link:
    name = "Approval"
    if action is None:
        return Link(name, LinkState.LEFT_OUT, "Nothing is to be approved.")
    if action.awaits_decision(now):
        by = f" before {action.expires:%H:%M} UTC" if action.expires else ""
        return Link(name, LinkState.WAITS, f"A person decides{by}.")
    if action.state in _STOPPED:
        by = f" by {action.by}" if action.by else ""
        return Link(name, LinkState.WRONG, f"{action.state.capitalize()}{by}.", action.at)
    if action.level is Level.AUTOMATIC:
        return Link(name, LinkState.DONE, "The policy lets it act by itself.")
    if action.state is ActionState.PROPOSED:
        return Link(name, LinkState.AHEAD, "Nobody has decided.")
    return Link(name, LinkState.DONE, f"Approved by {action.by}." if action.by else "Approved.")


def _action(action: ActionView | None) -> Link:
    if action is None or action.state is ActionState.PROPOSED or action.state in _STOPPED:
        state = LinkState.AHEAD if action and action.state is ActionState.PROPOSED else None
        return Link("Action", state or LinkState.LEFT_OUT, "Nothing was done.")
    if action.state in (ActionState.RUNNING, ActionState.UNDOING):
        return Link("Action", LinkState.WAITS, f"{action.state.capitalize()} on {action.target}.")
    if action.state in (ActionState.FAILED, ActionState.UNDONE):
        why = f": {action.reason}" if action.reason else ""
        return Link("Action", LinkState.WRONG, f"{action.state.capitalize()}{why}.", action.at)
    return Link("Action", LinkState.DONE, f"Carried out on {action.target}.", action.at)


def _value_after(incident: Incident, action: ActionView | None) -> Link:
    name = "Value after"
    verified = next((e for e in reversed(incident.events) if e.id.startswith("verified/")), None)
    if verified is not None:
        helped = "did not help" not in verified.text
        text = verified.text.partition(": ")[2] or verified.text
        return Link(name, LinkState.DONE if helped else LinkState.WRONG, f"{text}.", verified.at)
    if action is not None and action.state is ActionState.VERIFYING:
        return Link(name, LinkState.WAITS, "It is being read again.")
    if action is not None and action.state in (ActionState.PROPOSED, ActionState.RUNNING):
        return Link(name, LinkState.AHEAD, "It is read again after the action.")
    return Link(name, LinkState.LEFT_OUT, "There was no action to verify.")


def _ledger(alert: AlertView, episodes: Sequence[Episode]) -> Link:
    judged = next((e for e in episodes if e.outcome), None)
    if judged is not None:
        text = _OUTCOMES.get(judged.outcome, f"The prediction: {judged.outcome}.")
        return Link("Ledger", LinkState.DONE, text, _at(judged.ended_ms))
    if episodes or alert.is_open:
        return Link("Ledger", LinkState.AHEAD, "It is entered when the outcome is known.")
    return Link("Ledger", LinkState.DONE, "It counts as an alarm that was not predicted.", alert.at)


def _at(time_ms: int | None) -> datetime | None:
    if time_ms is None:
        return None
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None  # senders choose it, and calendars end
