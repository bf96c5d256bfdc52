"""Executes commands one by one; each is answered exactly once, also after a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from services.healer.agent.records import COMMANDS, KEPT, Command
from services.healer.remediations.kill_switch import RESUMPTIONS
from shared.changes import with_changes
from shared.contracts import Message
from shared.service import Service

log = structlog.get_logger(__name__)

Perform = Callable[[Command], Message]
"""Does what a command says and makes the answer. Called again when a crash came before the
answer was stored; ``command.attempts`` counts the calls.
"""


class Executor:
    """Executes pending commands of some types, oldest first."""

    def __init__(self, service: Service, performs: Mapping[type[Message], Perform]) -> None:
        self._service = service
        self._performs = {message.TYPE: perform for message, perform in performs.items()}

    def run(self) -> None:
        """Answer all that is pending, then what was begun before a crash came."""
        while not self._service.stopping.is_set():
            command = self._begin()
            if command is None:
                return
            answer = self._performs[command.type](command)
            self._answer(command, answer)

    def _begin(self) -> Command | None:
        """The oldest command that is not answered, noted as begun."""
        with self._service.unit() as unit:
            for name in self._performs:
                waiting = unit.records.find(
                    COMMANDS, status=("pending", "begun"), group=name, limit=1
                )
                if waiting:
                    command = waiting[0]
                    begun = with_changes(command, status="begun", attempts=command.attempts + 1)
                    unit.records.put(COMMANDS, begun)
                    return begun
        return None

    def _answer(self, command: Command, answer: Message) -> None:
        with self._service.unit() as unit:
            forget_at = self._service.context().now + KEPT
            unit.records.put(
                COMMANDS, with_changes(command, status="answered", forget_at=forget_at)
            )
            unit.emit(answer)
        log.info("command_answered", type=command.type, command_id=command.command_id)


def forget(service: Service) -> None:
    """Forget commands answered, and revocations of the kill switch delivered, long ago."""
    with service.unit() as unit:
        now = service.context(unit.records).now
        for command in unit.records.find(COMMANDS, due_before=now):
            unit.records.delete(COMMANDS, command.key)
        for resumed in unit.records.find(RESUMPTIONS, due_before=now):
            unit.records.delete(RESUMPTIONS, resumed.hosts)
