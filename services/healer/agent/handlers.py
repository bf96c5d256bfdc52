"""Handlers that only record commands; the executor acts on them."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from services.healer.agent.records import COMMANDS, HALTS, Command
from services.healer.remediations import kill_switch
from shared.contracts import Message
from shared.contracts.healing import HealingResume, HealingStop
from shared.contracts.remediation import EvidenceCollect, ItemRead, RemediationExecute
from shared.service import Context


def evidence_collect(message: EvidenceCollect, ctx: Context, *, host: str) -> Iterable[Message]:
    """Record a request for evidence."""
    if message.host == host:
        _note(message, message.command_id, ctx)
    return ()


def remediation_execute(
    message: RemediationExecute, ctx: Context, *, host: str
) -> Iterable[Message]:
    """Record an order to carry out a remediation."""
    if message.host == host:
        _note(message, message.command_id, ctx)
    return ()


def healing_stop(message: HealingStop, ctx: Context, *, host: str) -> Iterable[Message]:
    """Forbid further steps of remediations until healing is resumed."""
    if fnmatchcase(host, message.hosts):
        kill_switch.stop(message, HALTS, ctx.records, ctx.now)
    return ()


def healing_resume(message: HealingResume, ctx: Context, *, host: str) -> Iterable[Message]:
    """Revoke a stop with the same pattern; a later stop still applies."""
    if fnmatchcase(host, message.hosts):
        kill_switch.resume(message, HALTS, ctx.records, ctx.now)
    return ()


def item_read(message: ItemRead, ctx: Context, *, host: str) -> Iterable[Message]:
    """Record a request to read an item."""
    if message.series.host == host:
        _note(message, message.command_id, ctx)
    return ()


def _note(message: Message, command_id: str, ctx: Context) -> None:
    # Two names of machines can make the same word of a routing key, hence the callers' check.
    command = Command(command_id=command_id, type=message.TYPE, body=message.model_dump_json())
    if ctx.records.get(COMMANDS, command.key) is None:
        ctx.records.put(COMMANDS, command)
