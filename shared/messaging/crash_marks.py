"""Records the messages that a process was handling when it died, in a file.

The broker counts how often a message came back, but an outage brings messages back as well as a
crash, and a crash brings back all that the process held. Only the process itself can say which
message it was working on. So a message that came back is handled alone, and marked meanwhile: a
mark that is still there at the next start means that the process died over that very message.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

MAX_CRASHES = 3
"""A message over which the process died so often is set aside."""

_MAX_MARKS = 200


class CrashMarks:
    """Marks by message identity; without a path, they last as long as the process.

    The file is replaced as a whole and not synchronised: it is to outlive a process, not a machine.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._marks = self._read()

    def crashes(self, identity: str) -> int:
        """Return how often the process died over it."""
        return self._marks.get(identity, 0)

    @contextmanager
    def working_on(self, identity: str) -> Iterator[None]:
        """Mark it while it is worked on; however that ends, it was no death of the process."""
        before = self._marks.get(identity, 0)
        self._set(identity, before + 1)
        try:
            yield
        finally:
            self._set(identity, before)

    def forget(self, identity: str) -> None:
        """Forget a message that is settled: it cannot come again."""
        if identity in self._marks:
            self._set(identity, 0)

    def _set(self, identity: str, count: int) -> None:
        with self._lock:
            self._marks.pop(identity, None)
            if count:
                self._marks[identity] = count
            while len(self._marks) > _MAX_MARKS:
                del self._marks[next(iter(self._marks))]
            self._write()

    def _read(self) -> dict[str, int]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())
            return {str(name): int(count) for name, count in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("crash_marks_unreadable", path=str(self._path), reason=str(error))
            return {}

    def _write(self) -> None:
        if self._path is None:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_text(json.dumps(self._marks))
            fresh.replace(self._path)
        except OSError as error:
            # Without the file a message that ends the process does so until an operator looks;
            # messages that do not are handled as ever.
            log.warning("crash_marks_unwritable", path=str(self._path), reason=str(error))
