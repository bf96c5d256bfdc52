"""The opening sentences of a notification, for a person who is woken by it.

They say what is wrong, since when and how badly, what was done, and what is wanted of the reader.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model.action import Action
from services.healer.model.incident import Incident
from services.healer.model.narrative import Decided, Executed, Verified
from services.healer.model.notice import Kind
from services.healer.model.notification import Flap
from services.healer.notify.render.numbers import percent, span
from services.healer.notify.render.story import (
    as_predicted,
    clock,
    clock_ms,
    gone,
    is_presence,
    last_prediction,
    subject,
)
from shared.contracts.alerts import AlertState, AnomalyKind
from shared.items import ITEMS
from shared.quantity import quantity

_EVEN_CHANCE = 0.5
_SHAPES = {
    AnomalyKind.SPIKE: "a spike",
    AnomalyKind.DIP: "a dip",
    AnomalyKind.LEVEL_UP: "a higher level",
    AnomalyKind.LEVEL_DOWN: "a lower level",
    AnomalyKind.TREND: "a trend",
    AnomalyKind.MORE_NOISE: "more noise",
    AnomalyKind.LESS_NOISE: "less noise",
    AnomalyKind.STUCK: "a standstill",
    AnomalyKind.PATTERN_MISSING: "a missing pattern",
}
"""The name of a kind of anomaly in a sentence."""


def opening(
    incident: Incident,
    kind: Kind,
    now: datetime,
    flap: Flap | None = None,
    action: Action | None = None,
) -> str:
    """Two or three sentences that stand above everything else."""
    match kind:
        case "handled":
            return _handled(incident, now)
        case "resolved":
            return _resolved(incident, now)
        case "flapping" if flap is not None:
            return _flapping(incident, flap, now)
        case "acknowledged":
            return f"{incident.acknowledged_by} has acknowledged it. {_matter(incident, now)}"
        case _:
            silent = "Nobody has acknowledged it. " if kind == "unanswered" else ""
            done, wanted = _done(incident), _wanted(incident, kind, action, now)
            return f"{_matter(incident, now)} {silent}{done}{wanted}".strip()


def _unit(incident: Incident) -> str:
    item = ITEMS.get(incident.series.item)
    return item.unit if item else ""


def _matter(incident: Incident, now: datetime) -> str:
    """The sentence about what is the matter, since when, and how bad."""
    observation, unit, name = incident.observation, _unit(incident), subject(incident.series)
    begun = _begun(incident)
    since = f"since {clock(begun, now)} ({span(now - begun)})"
    if incident.state is AlertState.PREDICTED and observation.crossing_ms is not None:
        return _to_come(incident, now)
    value = quantity(observation.value, unit)
    if is_presence(incident.series):
        return f"{_silent(incident)}, noticed at {clock(begun, now)} UTC ({span(now - begun)} ago)."
    if observation.strange:
        return (
            f"{name} is at {value}, which is unusual for it: {_move(incident)}{_usual(incident)}, "
            f"{since}."
        )
    if observation.threshold is None:
        return f"{name} has been firing {since}: {observation.sentence.rstrip('.')}."
    side = "above" if observation.above else "below"
    limit = quantity(observation.threshold, unit)
    return f"{name} is at {value}, {side} its threshold of {limit}, {since}."


def _silent(incident: Incident) -> str:
    """The sentence that a machine, or a sender of several, is silent."""
    if incident.observation.kind is AnomalyKind.GAP:
        return incident.observation.sentence
    return f"{incident.series.host} cannot be reached"


def _begun(incident: Incident) -> datetime:
    """The start of the present state; a predicted alarm began after its prediction."""
    wanted = "anomaly" if incident.observation.strange else "alarm"
    facts = (fact.at for fact in incident.narrative if fact.kind == wanted)
    return next(facts, incident.opened_at)


def _to_come(incident: Incident, now: datetime) -> str:
    observation, unit, name = incident.observation, _unit(incident), subject(incident.series)
    verb = "reach" if observation.above else "fall to"
    limit = quantity(observation.threshold or 0.0, unit)
    early, late = observation.earliest_ms, observation.latest_ms
    if early is not None and late is not None and early < late:
        when = f"between {clock_ms(early, now)} and {clock_ms(late, now)} UTC"
    else:
        when = f"at about {clock_ms(observation.crossing_ms or 0, now)} UTC"
    sure = observation.probability
    will = "may" if sure is not None and sure < _EVEN_CHANCE else "will"
    share = f" ({percent(sure)})" if sure is not None else ""
    value = quantity(observation.value, unit)
    return f"{name} {will} {verb} {limit} {when}{share}; it is at {value} now."


def _move(incident: Incident) -> str:
    """The word for the value's change."""
    observation = incident.observation
    if observation.kind in _SHAPES:
        return _SHAPES[observation.kind]
    before = [point.value for point in observation.recent[:-1]]
    if not before:
        return "a move"
    middle = sorted(before)[len(before) // 2]
    return (
        "a rise"
        if observation.value > middle
        else "a fall"
        if observation.value < middle
        else "a change"
    )


def _usual(incident: Incident) -> str:
    """The values before it in one number, where there are any."""
    before = sorted(point.value for point in incident.observation.recent[:-1])
    if not before:
        return ""
    return f" (before: about {quantity(before[len(before) // 2], _unit(incident))})"


def _done(incident: Incident) -> str:
    """The sentence about what was done so far."""
    verified = next((f for f in reversed(incident.narrative) if isinstance(f, Verified)), None)
    if verified is not None and not verified.effective:
        return f"{verified.remediation} did not help ({_change(verified, _unit(incident))}). "
    tried = next((f for f in reversed(incident.narrative) if isinstance(f, Executed)), None)
    if tried is not None and not tried.succeeded:
        return f"{tried.remediation} could not be carried out. "
    if incident.attempts:
        return ""
    return f"{_why_escalated(incident)}Nothing has been done about it. "


def _why_escalated(incident: Incident) -> str:
    """The decision by which a person is called, as a sentence."""
    if incident.tell != "escalated":
        return ""
    words = (f.words for f in reversed(incident.narrative) if isinstance(f, Decided))
    why = next((each for each in words if each in incident.actions), "")
    return f"{why} " if why else ""


def _wanted(incident: Incident, kind: Kind, action: Action | None, now: datetime) -> str:
    """The sentence that asks something of the reader, and until when."""
    observation = incident.observation
    soon = (
        _before(observation.earliest_ms or observation.crossing_ms, now)
        if _is_to_come(incident, kind)
        else ""
    )
    if action is not None and action.expires is not None:
        until = clock(action.expires, now)
        return (
            f"Please approve or refuse {action.remediation}{soon}: without your approval nothing "
            f"is done. The proposal expires at {until} UTC."
        )
    if kind in {"escalated", "unanswered"}:
        return "Please look at it now: nothing else will be done automatically."
    return f"Please look at it{soon}." if kind == "firing" or soon else ""


def _is_to_come(incident: Incident, kind: Kind) -> bool:
    """Return whether the notice is about a prediction, though it may have fired before."""
    to_come = incident.state is AlertState.PREDICTED
    return kind == "predicted" or (kind == "firing" and to_come)


def _before(soonest_ms: int | None, now: datetime) -> str:
    """The time by which somebody should look at a prediction."""
    if soonest_ms is None:
        return ""
    ahead = soonest_ms > now.timestamp() * 1000
    return f" before {clock_ms(soonest_ms, now)} UTC" if ahead else " now"


def _handled(incident: Incident, now: datetime) -> str:
    """The whole story of a handled alarm: its trouble, what was done, and that nothing is to do."""
    unit, name = _unit(incident), subject(incident.series)
    predicted = last_prediction(incident.narrative)
    fired = any(fact.kind == "alarm" for fact in incident.narrative)
    parts = [f"{name}:"]
    if predicted is not None:
        parts.append(f"{as_predicted(predicted, unit, now)};")
    did = next((f for f in reversed(incident.narrative) if isinstance(f, Executed)), None)
    if did is not None:
        parts.append(f"{did.words.rstrip('.')} at {clock(did.at, now)} UTC;")
    if changed := _changed(incident):
        parts.append(f"{changed};")
    parts.append("the alarm is resolved." if fired else "no alarm fired.")
    return " ".join([*parts, "No action is needed."])


def outcome(incident: Incident, kind: Kind) -> str:
    """The value with which it ended, in a headline, e.g. ``93 % → 28 %``; empty if not known."""
    if kind == "handled":
        return _changed(incident)
    if kind != "resolved" or incident.left_at is None or incident.gone_since is not None:
        return ""
    return f"{quantity(incident.left_at, _unit(incident))} now"


def _changed(incident: Incident) -> str:
    """The change by a remediation; empty where nothing was read again."""
    read = next((f for f in reversed(incident.narrative) if isinstance(f, Verified)), None)
    return "" if read is None else _change(read, _unit(incident))


def _change(read: Verified, unit: str) -> str:
    return f"{quantity(read.before, unit)} → {quantity(read.after, unit)}"


def _resolved(incident: Incident, now: datetime) -> str:
    unit, name = _unit(incident), subject(incident.series)
    if incident.gone_since is not None:
        last = incident.observation.value if incident.left_at is None else incident.left_at
        return f"The alert of {name} ended: {gone(incident.gone_since, last, unit, now)}"
    at = f", at {quantity(incident.left_at, unit)} now" if incident.left_at is not None else ""
    length = span((incident.closed_at or now) - incident.opened_at)
    predicted = last_prediction(incident.narrative)
    if predicted is not None and not any(f.kind == "alarm" for f in incident.narrative):
        said = as_predicted(predicted, unit, now)
        return (
            f"{name} is out of danger{at}: it was {said}, and that did not happen. "
            "No action is needed."
        )
    if is_presence(incident.series) and at:
        return f"{incident.series.host} sends samples again, after {length}. No action is needed."
    calm = "is no longer unusual" if incident.observation.strange else "is back to normal"
    again = calm if at else "no longer fires"
    return f"{name} {again}{at}, after {length}. No action is needed."


def calmed(incident: Incident, now: datetime) -> str:
    """The end of flapping, of which people were notified in place of each alert."""
    since = incident.closed_at or now
    moment = f"{clock(since, now)} UTC ({span(now - since)})"
    return (
        f"{subject(incident.series)} has calmed down: it has not fired since {moment}. "
        "You are notified of each alert again. No action is needed."
    )


def _flapping(incident: Incident, flap: Flap, now: datetime) -> str:
    hold = span(timedelta(seconds=flap.hold_s))
    observation, unit = incident.observation, _unit(incident)
    limit = (
        f", threshold {quantity(observation.threshold, unit)}"
        if observation.threshold is not None
        else ""
    )
    return (
        f"{subject(incident.series)} is flapping: it fired {flap.openings} times since "
        f"{clock(flap.since, now)} UTC, last at {quantity(observation.value, unit)}{limit}. "
        f"From now on you are notified only if it fires for longer than {hold}, and once it has "
        f"calmed down: at {clock(flap.until, now)} UTC, if it does not fire again. "
        "Please find out why."
    )
