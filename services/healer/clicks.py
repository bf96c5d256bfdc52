"""What a followed link asks, and what its button does: one entry for each purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from services.healer.alerting.people import NotFound, People
from services.healer.links import Link, Purpose
from services.healer.records import INCIDENTS
from shared.contracts import Message
from shared.service import Context

Question: TypeAlias = Callable[[Link, Context], str]
"""What is asked, in one sentence. Raises NotFound when there is nothing left to do."""
Deed: TypeAlias = Callable[[Link, Context], tuple[str, Iterable[Message]]]
"""Does it; what to say, and what follows. Raises NotFound. Twice is the same as once."""


@dataclass(frozen=True)
class Click:
    """One purpose of links."""

    button: str
    question: Question
    deed: Deed


def clicks(people: People) -> dict[Purpose, Click]:
    """What people can do to alerts by a link."""

    def about(link: Link, ctx: Context) -> str:
        incident = ctx.records.get(INCIDENTS, link.subject)
        if incident is None:
            raise NotFound("there is no incident with this id any more")
        return incident.series.text()

    def acknowledge(link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        messages = list(people.acknowledge(link.subject, link.by, ctx))
        incident = ctx.records.get(INCIDENTS, link.subject)
        by = incident.acknowledged_by if incident else link.by
        return f"{about(link, ctx)} is taken care of by {by}.", messages

    def silence(link: Link, ctx: Context) -> tuple[str, Iterable[Message]]:
        made = people.silence_incident(link.subject, link.by, ctx)
        until = f"{made.ends_at:%Y-%m-%d %H:%M} UTC"
        return f"{about(link, ctx)} is silenced until {until}.", ()

    hours = people.settings.alerting.silence_link_s / 3600
    return {
        "acknowledge": Click(
            "Acknowledge",
            lambda link, ctx: f"Take care of {about(link, ctx)}, as {link.by}?",
            acknowledge,
        ),
        "silence": Click(
            "Silence",
            lambda link, ctx: f"Tell nobody of {about(link, ctx)} for {hours:g} h?",
            silence,
        ),
    }
