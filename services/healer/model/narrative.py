"""The story of an incident: typed facts in the order in which they became known."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

MAX_FACTS = 100
"""A longer story keeps its first facts and its latest."""
_FIRST = 20


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


class Crossed(_Fact):
    """An alarm: the value is beyond its threshold, or somebody else's rule says so."""

    kind: Literal["alarm"] = "alarm"
    value: float
    threshold: float | None = None
    sentence: str = ""


class Strange(_Fact):
    """An anomaly: the value is unlike itself."""

    kind: Literal["anomaly"] = "anomaly"
    value: float
    sentence: str = ""
    votes: tuple[str, ...] = ()
    """The detectors that call it anomalous."""


class Answered(_Fact):
    """The machine said what it knows of the cause, or did not."""

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
    """To how many recipients of channels it goes; 0: no channel wants it."""


class NotNotified(_Fact):
    """There is nothing to notify anybody of any more."""

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
    """Whether a predicted alarm never fired because of it."""


class Acknowledged(_Fact):
    """Somebody takes care of it."""

    kind: Literal["acknowledged"] = "acknowledged"
    by: str


class Ended(_Fact):
    """It is over."""

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
    """The story with further facts; a fact that says what the last one said is left out."""
    kept = list(narrative)
    for fact in facts:
        if not kept or not _same(kept[-1], fact):
            kept.append(fact)
    if len(kept) > MAX_FACTS:
        kept = [*kept[:_FIRST], *kept[_FIRST - MAX_FACTS :]]
    return tuple(kept)


def _same(one: Fact, other: Fact) -> bool:
    """Whether both say the same but for when."""
    if isinstance(one, Held) and isinstance(other, Held):
        return (one.by, one.cause) == (other.by, other.cause)
    return one.model_copy(update={"at": other.at}) == other
