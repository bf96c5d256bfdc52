"""A command is noted, nothing more: it is carried out where the outside world is touched."""

from __future__ import annotations

from collections.abc import Iterable

from services.healer.agent.records import COMMANDS, Command
from shared.contracts import Message
from shared.contracts.alerts import EvidenceCollect, ItemRead, RemediationExecute
from shared.service import Context


def evidence_collect(message: EvidenceCollect, ctx: Context, *, host: str) -> Iterable[Message]:
    """Look for causes soon."""
    if message.host == host:
        _note(message, message.command_id, ctx)
    return ()


def remediation_execute(
    message: RemediationExecute, ctx: Context, *, host: str
) -> Iterable[Message]:
    """Carry out a remediation soon."""
    if message.host == host:
        _note(message, message.command_id, ctx)
    return ()


def item_read(message: ItemRead, ctx: Context, *, host: str) -> Iterable[Message]:
    """Read an item soon."""
    if message.series.host == host:
        _note(message, message.command_id, ctx)
    return ()


def _note(message: Message, command_id: str, ctx: Context) -> None:
    # Two names of machines can make the same word of a routing key, hence the callers' check.
    command = Command(command_id=command_id, type=message.TYPE, body=message.model_dump_json())
    if ctx.records.get(COMMANDS, command.key) is None:
        ctx.records.put(COMMANDS, command)
