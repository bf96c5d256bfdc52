"""Entries of the audit log as sentences: who did what, and to which alert, rule or machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.contracts import ActionState, Level

Entry = Mapping[str, Any]
_LEVELS: dict[str, str] = {
    Level.OBSERVE: "it is observed only",
    Level.SUGGEST: "people are notified and shown what would help",
    Level.APPROVE: "a person has to approve the action",
    Level.AUTOMATIC: "the action runs by itself",
}
_ACTIONS: dict[str, str] = {
    ActionState.PROPOSED: "was proposed",
    ActionState.RUNNING: "began",
    ActionState.VERIFYING: "is done, and its effect is being verified",
    ActionState.UNDOING: "did not help and is being undone",
    ActionState.VERIFIED: "helped",
    ActionState.FAILED: "failed",
    ActionState.UNDONE: "was undone",
    ActionState.REFUSED: "was refused",
    ActionState.EXPIRED: "was not decided on in time",
    ActionState.WITHDRAWN: "was withdrawn",
}
_STEPS = {"intend": "is about to do a step of", "done": "has done a step of", "failed": "failed in"}


def sentence(entry: Entry, alert: str) -> str:
    """The entry in one sentence; ``alert`` names the alert that it is about, '' if it is unknown.

    An event that has no sentence here is shown by its name: healers may be of a later version.
    """
    event = str(entry.get("event", ""))
    kind, _, state = event.partition(" ")
    make = _SENTENCES.get(event) or _SENTENCES.get(kind)
    text = make(entry, state, alert or "an alert") if make else event.replace("_", " ")
    return f"{text[:1].upper()}{text[1:]}"


def has_sentence(entry: Entry) -> bool:
    """Return whether the entry's event has a sentence here, which says the common fields."""
    event = str(entry.get("event", ""))
    return event in _SENTENCES or event.partition(" ")[0] in _SENTENCES


def _who(entry: Entry) -> str:
    return str(entry.get("by") or "Somebody")


def _decided(entry: Entry, _state: str, alert: str) -> str:
    decision = entry.get("decision")
    level = decision.get("level", "") if isinstance(decision, Mapping) else ""
    return f"the policy decided on {alert}: {_LEVELS.get(level, level)}".removesuffix(": ")


def _judged(entry: Entry, _state: str, alert: str) -> str:
    said = "an anomaly after all" if entry.get("anomaly") else "not an anomaly"
    return f"{_who(entry)} called {alert} {said}"


def _action(entry: Entry, state: str, alert: str) -> str:
    name = f"{entry.get('remediation') or 'an action'} on {entry.get('target') or 'its machine'}"
    by = f" by {entry['by']}" if entry.get("by") else ""
    return f"{name} {_ACTIONS.get(state, f'is {state}')}{by}, for {alert}"


def _approval(entry: Entry, _state: str, _alert: str) -> str:
    return f"{_who(entry)} {'approved' if entry.get('approve') else 'refused'} an action"


def _rule(entry: Entry, state: str, _alert: str) -> str:
    by = f" by {entry['by']}" if entry.get("by") else ""
    return f"the rule {entry.get('cause')} → {entry.get('effect')} was {state}{by}"


def _rule_decision(entry: Entry, _state: str, _alert: str) -> str:
    said = "accepted" if entry.get("accept") else "rejected"
    return f"{_who(entry)} {said} a correlation rule"


def _silence(entry: Entry, state: str, _alert: str) -> str:
    said = "silenced alerts with" if state == "made" else "ended the silence of"
    return f"{_who(entry)} {said} {entry.get('matchers')}"


def _step(entry: Entry, _state: str, _alert: str) -> str:
    return f"the healer {_STEPS[str(entry['event'])]} {entry.get('remediation', 'an action')}"


_SENTENCES: dict[str, Callable[[Entry, str, str], str]] = {
    "incident.acknowledge": lambda entry, _state, alert: f"{_who(entry)} acknowledged {alert}",
    "anomaly.judge": _judged,
    "decided": _decided,
    "policy": lambda *_: "the policy was changed",
    "action decide": _approval,
    "action": _action,
    "rule": _rule,
    "correlation.decide": _rule_decision,
    "silence": _silence,
    "healing.stop": lambda entry, *_: f"{_who(entry)} stopped healing on {_hosts(entry)}",
    "healing.resume": lambda entry, *_: f"{_who(entry)} resumed healing on {_hosts(entry)}",
    "intend": _step,
    "done": _step,
    "failed": _step,
}
"""The sentence of each event; of those that end with a state, by the first word."""


def _hosts(entry: Entry) -> str:
    hosts = entry.get("hosts") or "*"
    return "all machines" if hosts == "*" else str(hosts)
