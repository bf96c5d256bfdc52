"""The agent's records of the commands it was given."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.remediations.kill_switch import Switch
from shared.contracts import Message
from shared.contracts.message import message_types
from shared.store import Collection

KEPT = timedelta(days=8)
"""The time for which an answered command is remembered: no message comes again later."""


class Command(BaseModel):
    """One command: ``pending`` until begun, ``begun`` until answered, then ``answered``."""

    model_config = ConfigDict(frozen=True)

    command_id: str
    type: str
    body: str
    """The message as JSON."""
    status: Literal["pending", "begun", "answered"] = "pending"
    attempts: int = 0
    forget_at: AwareDatetime | None = None

    @property
    def key(self) -> str:
        """Type and id: commands of two types may share an id."""
        return f"{self.type}/{self.command_id}"

    @property
    def message(self) -> Message:
        """The command as it came."""
        return message_types()[self.type].model_validate_json(self.body)


COMMANDS = Collection(
    name="commands",
    model=Command,
    key=lambda c: c.key,
    group=lambda c: c.type,
    status=lambda c: c.status,
    due=lambda c: c.forget_at,
)


class Fence(BaseModel):
    """The highest fence seen: an order with a lower one comes from a lease that is over."""

    model_config = ConfigDict(frozen=True)

    target: str
    fence: int


HALTS = Collection("halts", Switch, key=lambda h: h.hosts)
FENCES = Collection("fences", Fence, key=lambda f: f.target)
