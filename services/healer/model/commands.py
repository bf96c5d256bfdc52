"""Records of pending commands, ordered remediations, and ends that arrived before their starts."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.store import Collection


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Command(_Record):
    """The incident to which an answer belongs."""

    command_id: str
    incident_id: str
    due: AwareDatetime


class Run(_Record):
    """A remediation that was ordered; kept for cooldown and budget."""

    command_id: str
    host: str
    series: str
    at: AwareDatetime
    due: AwareDatetime


class Ended(_Record):
    """An event's end; its beginning may still be on the way."""

    event_id: str
    due: AwareDatetime


COMMANDS = Collection("commands", Command, key=lambda c: c.command_id, due=lambda c: c.due)
RUNS = Collection(
    "runs", Run, key=lambda r: r.command_id, group=lambda r: r.host, due=lambda r: r.due
)
ENDED = Collection("ended", Ended, key=lambda e: e.event_id, due=lambda e: e.due)
