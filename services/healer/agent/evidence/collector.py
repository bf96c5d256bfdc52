"""From a command to the table that answers it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath

from services.healer.agent.evidence import files, processes
from services.healer.agent.evidence.found import Found
from services.healer.agent.records import Command
from shared.contracts.alerts import EvidenceCollect, EvidenceCollected, EvidenceRow

_MOST_ATTEMPTS = 3


class Collector:
    """Looks at what the alert's family is about."""

    def __init__(
        self, clock: Callable[[], datetime], stopping: Callable[[], threading.Event]
    ) -> None:
        self._clock = clock
        self._stopping = stopping

    def perform(self, command: Command) -> EvidenceCollected:
        """The causes found; an empty table that says why when it is too late or was too hard."""
        message = EvidenceCollect.model_validate_json(command.body)
        if self._clock() >= message.reply_by:
            found = Found("Not collected: the question came too late", (), truncated=True)
        elif command.attempts > _MOST_ATTEMPTS:
            found = Found(f"Not collected: {_MOST_ATTEMPTS} attempts failed", (), truncated=True)
        else:
            found = self.look(message.family, message.path)
        return EvidenceCollected(
            command_id=message.command_id,
            host=message.host,
            family=message.family,
            title=found.title,
            rows=tuple(EvidenceRow(columns=row) for row in found.rows),
            truncated=found.truncated,
            at=self._clock(),
        )

    def look(self, family: str, path: str = "") -> Found:
        """What a family is about; processes by CPU for families without a look of their own."""
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
