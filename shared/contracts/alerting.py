"""Messages about what decides on notifications: silences, and how much there is of everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field, NaiveDatetime

from shared.contracts.message import Message, Part, cut_to

MAX_WINDOWS = 100
MAX_MATCHERS = 100


class SilenceWindow(Part):
    """A time in which a silence mutes."""

    begin: AwareDatetime
    end: AwareDatetime


class SilenceRecurrence(Part):
    """The rule by which a silence's windows recur."""

    rule: str = Field(max_length=500, description="A recurrence rule of RFC 5545.")
    first: NaiveDatetime = Field(description="The local time of the first window's start.")
    timezone: str = Field(max_length=64, description="The IANA name of the time zone.")
    duration_s: float = Field(gt=0, description="The length of each window in seconds.")


class SilenceChanged(Message):
    """A silence was made, changed or ended, or its next windows were computed anew (each day).

    One that has ended has an ``ends_at`` that is not later than ``at``.
    """

    TYPE: ClassVar[str] = "silence.changed"
    SUBJECT: ClassVar[str] = "silence_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("silence_id", "sequence")

    silence_id: str = Field(min_length=1, max_length=128, description="The silence's id.")
    sequence: int = Field(
        ge=1, description="Grows with each change of the silence; not always by one."
    )
    matchers: Annotated[tuple[Annotated[str, Field(max_length=2000)], ...], cut_to(MAX_MATCHERS)]
    starts_at: AwareDatetime = Field(description="The time at which it begins to mute.")
    ends_at: AwareDatetime = Field(description="The time at which it stops muting.")
    owner: str = Field(max_length=200, description="The person or team to ask about it.")
    reason: str = Field(max_length=1000, description="The reason for which it was made.")
    configured: bool = Field(
        default=False, description="True: it is a window of the settings, which nobody can end."
    )
    recurrence: SilenceRecurrence | None = Field(
        default=None, description="The windows in which it mutes; null: all the time."
    )
    windows: Annotated[tuple[SilenceWindow, ...], cut_to(MAX_WINDOWS)] = Field(
        default=(),
        max_length=MAX_WINDOWS,
        description="The windows in which it mutes, from midnight (UTC) of the day of "
        "`at` for 16 days.",
    )
    at: AwareDatetime


class AlertingReported(Message):
    """Once a minute: that the healer works, how many alerts silences hold back, and a digest.

    Whoever keeps silences, rules and stops from their events compares the digest with its own,
    and asks with ``alerting.ask`` for all of them if they differ.
    """

    TYPE: ClassVar[str] = "alerting.reported"
    ONCE: ClassVar[bool] = False

    muted: int = Field(ge=0, description="Open alerts that a silence keeps from people.")
    silences: int = Field(ge=0, description="Silences that have not ended.")
    rules: int = Field(ge=0, description="Correlation rules that were not retired.")
    digest: str = Field(max_length=64, description="Of the ids and sequences of all of them.")
    at: AwareDatetime


class AlertingAsk(Message):
    """Asks the healer to publish every silence and correlation rule again, as it is."""

    TYPE: ClassVar[str] = "alerting.ask"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("at",)

    at: AwareDatetime


def digest_of(known: Iterable[tuple[str, int]], stopped: Iterable[str]) -> str:
    """The digest of what is in force, by which the healer and a client know that they agree.

    Args:
        known: the ids of silences and rules with their sequences, in any order.
        stopped: the patterns of machines on which healing is stopped.
    """
    numbered = [*known, *((f"stop {hosts}", 0) for hosts in stopped)]
    lines = "\n".join(sorted(f"{name} {sequence}" for name, sequence in numbered))
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()
