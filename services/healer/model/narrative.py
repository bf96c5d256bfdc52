"""The narrative of an incident: typed facts in the order in which they became known."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.changes import changed

MAX_FACTS = 100
"""A longer story keeps its first facts and its latest."""
_FIRST_KEPT = 20


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)

    at: AwareDatetime


class Predicted(_Fact):
    """A forecast reaches the threshold."""

    kind: Literal["predicted"] = "predicted"
    value: float
    threshold: float
    crossing_ms: int
    earliest_ms: int | None = None
    latest_ms: int | None = None
    probability: float | None = None
    forecaster: str = ""
    above: bool | None = None
    """True if the alarm is above the threshold; None: an older fact does not say."""


class Crossed(_Fact):
    """An alarm: the value is beyond its threshold, or somebody else's rule says so."""

    kind: Literal["alarm"] = "alarm"
    value: float
    threshold: float | None = None
    sentence: str = ""


class Strange(_Fact):
    """An anomaly: the value is unusual for its series."""

    kind: Literal["anomaly"] = "anomaly"
    value: float
    sentence: str = ""
    votes: tuple[str, ...] = ()
    """The detectors that call it anomalous."""


class Answered(_Fact):
    """The machine sent its evidence, or did not answer."""

    kind: Literal["evidence"] = "evidence"
    title: str = ""
    rows: int = 0
    note: str = ""


class Held(_Fact):
    """People are not notified for now."""

    kind: Literal["held"] = "held"
    by: str
    until: AwareDatetime
    cause: str = ""


class Notified(_Fact):
    """A notice about it was given to the channels."""

    kind: Literal["notified"] = "notified"
    said: str
    message_id: str
    deliveries: int
    """The number of recipients; 0: no channel accepts it."""


class NotNotified(_Fact):
    """There is no longer anything to notify people of."""

    kind: Literal["not notified"] = "not notified"
    why: str


class Decided(_Fact):
    """A decision of the policy or of a person about acting."""

    kind: Literal["decided"] = "decided"
    words: str
    by: str = ""


class Executed(_Fact):
    """A remediation was carried out, or could not be."""

    kind: Literal["executed"] = "executed"
    remediation: str
    words: str
    succeeded: bool


class Verified(_Fact):
    """The value was read again after a remediation."""

    kind: Literal["verified"] = "verified"
    remediation: str
    before: float
    after: float
    effective: bool
    saved: bool = False
    """True if a predicted alarm never fired because of it."""


class Acknowledged(_Fact):
    """Somebody acknowledged the alert."""

    kind: Literal["acknowledged"] = "acknowledged"
    by: str


class Ended(_Fact):
    """The incident has ended."""

    kind: Literal["ended"] = "ended"
    how: str
    value: float | None = None


Fact = Annotated[
    Predicted
    | Crossed
    | Strange
    | Answered
    | Held
    | Notified
    | NotNotified
    | Decided
    | Executed
    | Verified
    | Acknowledged
    | Ended,
    Field(discriminator="kind"),
]
Narrative = tuple[Fact, ...]


def extended(narrative: Narrative, *facts: Fact) -> Narrative:
    """The narrative with further facts; a repetition of the last fact is left out.

    Of predictions in a row, which each moved the crossing a little, the first and the last are
    kept.
    """
    kept = list(narrative)
    for fact in facts:
        if [each.kind for each in (*kept[-2:], fact)] == ["predicted"] * 3:
            kept[-1] = fact
        elif not kept or not _same(kept[-1], fact):
            kept.append(fact)
    if len(kept) > MAX_FACTS:
        kept = [*kept[:_FIRST_KEPT], *kept[_FIRST_KEPT - MAX_FACTS :]]
    return tuple(kept)


def _same(one: Fact, other: Fact) -> bool:
    """Return whether the two facts differ in nothing but their time."""
    if isinstance(one, Held) and isinstance(other, Held):
        return (one.by, one.cause) == (other.by, other.cause)
    return changed(one, at=other.at) == other
