"""Answers a command with a table of evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath

import structlog

from services.healer.agent.apart import Apart, HangsError
from services.healer.agent.evidence import files, processes
from services.healer.agent.evidence.base import Asked, collectors
from services.healer.agent.evidence.found import Found
from services.healer.agent.records import Command
from shared.contracts.remediation import (
    EvidenceCollect,
    EvidenceCollected,
    EvidenceRow,
    EvidenceTable,
)

log = structlog.get_logger(__name__)

_MAX_ATTEMPTS = 3
_LEFT_S = 5.0
"""Seconds before the answer is due in which no further collector is started."""
_ANSWER_S = 2.0
"""Seconds before the answer is due in which nothing is waited for any more."""
_FIRST_S, _FURTHER_S = 10.0, 4.0
"""The seconds that a collector for the cause and one for further tables may take, whatever their
own bounds."""


class Collector:
    """Runs the collectors of the alert's family."""

    def __init__(
        self, clock: Callable[[], datetime], stopping: Callable[[], threading.Event]
    ) -> None:
        self._clock = clock
        self._stopping = stopping
        self._apart = Apart()

    def perform(self, command: Command) -> EvidenceCollected:
        """The causes found; an empty table that says why when it is too late or was too hard."""
        message = EvidenceCollect.model_validate_json(command.body)
        more: tuple[Found, ...] = ()
        if self._clock() >= message.reply_by:
            found = Found("Not collected: the question came too late", (), truncated=True)
        elif command.attempts > _MAX_ATTEMPTS:
            found = Found(f"Not collected: {_MAX_ATTEMPTS} attempts failed", (), truncated=True)
        else:
            found = self._first(message)
            more = self.more(message.family, message.path, message.reply_by)
        return EvidenceCollected(
            command_id=message.command_id,
            host=message.host,
            family=message.family,
            title=found.title,
            rows=tuple(EvidenceRow(columns=row) for row in found.rows),
            truncated=found.truncated,
            more=tuple(
                EvidenceTable(
                    title=other.title,
                    rows=tuple(EvidenceRow(columns=row) for row in other.rows),
                    truncated=other.truncated,
                )
                for other in more
            ),
            at=self._clock(),
        )

    def _first(self, message: EvidenceCollect) -> Found:
        family, path = message.family, message.path
        try:
            may_s = min(self._left_s(message.reply_by) - _ANSWER_S, _FIRST_S)
            return self._apart.call(f"the look at {family}", lambda: self.look(family, path), may_s)
        except HangsError as error:
            # A network file system is away, for instance. What else can be seen is still seen.
            return Found(f"Not collected: {error}", (), truncated=True)

    def _left_s(self, reply_by: datetime) -> float:
        return (reply_by - self._clock()).total_seconds()

    def more(self, family: str, path: str, reply_by: datetime) -> tuple[Found, ...]:
        """Further looks, as far as time suffices; what fails or finds nothing is left out."""
        asked = Asked(family, path, self._stopping().wait)
        found = []
        for collector in collectors(family):
            if (left_s := self._left_s(reply_by)) < _LEFT_S:
                break
            name = f"{collector.look.__module__}.{collector.look.__qualname__}"
            look = partial(collector.look, asked)
            try:
                seen = self._apart.call(name, look, min(left_s - _ANSWER_S, _FURTHER_S))
            except Exception as error:  # noqa: BLE001 - a collector may be somebody else's
                log.info("evidence_collector_failed", collector=name, error=str(error))
                continue
            if seen.rows:
                found.append(seen)
        return tuple(found)

    def look(self, family: str, path: str = "") -> Found:
        """Look for a family's causes; processes by CPU for families without a look of their own."""
        if family == "disk":
            start = PurePosixPath(path or "/")
            if not start.is_absolute():
                return Found(f"Not collected: {path!r} is no absolute path", (), truncated=True)
            return files.biggest(str(start))
        if family == "memory":
            return processes.by_memory()
        if family == "net":
            return processes.by_connections()
        return processes.by_cpu(self._stopping().wait)
