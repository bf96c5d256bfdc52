"""The audit: every step of every remediation as JSON lines, chained by hashes.

Each line carries the SHA-256 of the line before it, so that no line can be changed, taken out
or put in without breaking the chain. The hash of the last line is its *head*; it goes out with
every answer, so that a shortened file shows, too: its head is none that was announced.

A full file is set aside with a number, and the chain continues in a new one; the oldest of a
few is given up. So the audit cannot fill the disk that a remediation is to empty.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from services.healer.remediations.base import Step, Stopped

START = "0" * 64
_STEP_FIELDS = tuple(Step.__dataclass_fields__)
_TORN = "torn"
_CONTINUED = "continued"
MAX_BYTES = 8 * 2**20
"""Size at which a file is set aside."""
GENERATIONS = 8
"""The number of files, the newest included."""


class AuditInUseError(Exception):
    """Another agent uses this state directory."""


class Audit:
    """Append-only files; one process writes in their directory at a time.

    Args:
        path: the newest; ``path.1`` is the one before it.
        most_bytes: size at which a new one is begun.

    Raises:
        AuditInUseError: another process has it open.
    """

    def __init__(self, path: Path, most_bytes: int = MAX_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path, self._most_bytes = path, most_bytes
        self._lock = threading.Lock()
        # The directory is kept open, since the file is another one after it was set aside.
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._directory)
            raise AuditInUseError(f"another process writes {path}") from error
        self._file = self._open(path)
        self.head = self._last()
        self._begun()

    def note(self, event: str, **fields: object) -> None:
        """Append a line; when this returns it is on the disk."""
        with self._lock:
            if os.fstat(self._file).st_size > self._most_bytes:
                self._begin_another()
            self._begun()
            self._append(event, fields)

    def _append(self, event: str, fields: Mapping[str, object]) -> None:
        entry = {"at": datetime.now(UTC).isoformat(), "event": event, **fields}
        line = line_of(entry | {"previous": self.head})
        before = os.fstat(self._file).st_size
        try:
            _write_all(self._file, line)
            os.fsync(self._file)
        except OSError:
            # A full disk, say; half a line must not stay in the middle of the chain.
            os.ftruncate(self._file, before)
            raise
        self.head = hash_of(line)

    def _begun(self) -> None:
        """Write the first line of a further file, unless it is written."""
        if self.head != START and os.fstat(self._file).st_size == 0:
            self._append(_CONTINUED, {})

    def _begin_another(self) -> None:
        """Set the full file aside, the older ones behind it.

        The new one is made first: on a full disk that fails, and then nothing may have changed.
        """
        fresh = self.path.with_name(f"{self.path.name}.new")
        opened = self._open(fresh)
        try:
            for number in range(GENERATIONS - 1, 0, -1):
                with suppress(FileNotFoundError):
                    _older(self.path, number - 1).replace(_older(self.path, number))
            fresh.replace(self.path)
        except OSError:
            os.close(opened)
            raise
        os.close(self._file)
        self._file = opened
        os.fsync(self._directory)

    @staticmethod
    def _open(path: Path) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, 0o600)

    def entries(self, command_id: str) -> list[dict[str, Any]]:
        """The entries for one command, in order."""
        found = []
        for line in _lines(self.path):
            if command_id.encode() in line:
                entry = _parsed(line)
                if entry is not None and entry.get("command_id") == command_id:
                    found.append(entry)
        return found

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)
        os.close(self._directory)

    def _last(self) -> str:
        """The head of what is there; a line that a crash left half written is closed first."""
        head, line = START, b""
        for line in _lines(self.path):
            head = hash_of(line)
        if line and not line.endswith(b"\n"):
            _write_all(self._file, b"\n")
            self.head = hash_of(line + b"\n")
            self.note(_TORN)
            return self.head
        return head


class Book(Protocol):
    """An audit log, wherever it is kept."""

    head: str

    def note(self, event: str, **fields: object) -> None:
        """Append an entry; when this returns it is durable. Raises OSError when it cannot be."""

    def entries(self, command_id: str) -> list[dict[str, Any]]:
        """The entries for one command, in order."""


@dataclass
class CommandJournal:
    """The audit log for the remediation of one command."""

    audit: Book
    command_id: str
    remediation: str
    stopped: Callable[[], str] = lambda: ""
    """The person who threw the kill switch, and the reason; empty while nobody did."""

    def intend(self, step: Step) -> None:
        stopped = self.stopped()
        if stopped:
            raise Stopped(stopped)
        self._note("intend", step)

    def done(self, step: Step) -> None:
        self._note("done", step)

    def failed(self, step: Step, error: str) -> None:
        self._note("failed", step, error=error)

    def _note(self, event: str, step: Step, **more: str) -> None:
        self.audit.note(
            event,
            command_id=self.command_id,
            remediation=self.remediation,
            **asdict(step),
            **more,
        )


def intended(entry: dict[str, Any]) -> Step:
    """The step of an ``intend`` or ``done`` line."""
    return Step(**{name: entry[name] for name in _STEP_FIELDS if name in entry})


def check(arguments: Sequence[str]) -> int:
    """``audit-verify FILE [HEAD]`` of a node agent's audit: the exit status."""
    return checked(arguments, lambda path, head: (verify(path, head), "the audit is unbroken"))


def checked(
    arguments: Sequence[str], verified: Callable[[Path, str | None], tuple[list[str], str]]
) -> int:
    """``audit-verify FILE [HEAD]``: the exit status; 1 names everything that is wrong.

    Args:
        arguments: those of the command.
        verified: finds the faults of a file, and what to say if there are none.
    """
    if len(arguments) not in (1, 2):
        sys.stderr.write("audit-verify FILE [HEAD]\n")
        return 2
    try:
        faults, sound = verified(Path(arguments[0]), arguments[1] if len(arguments) > 1 else None)
    except OSError as error:
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 2
    sys.stdout.write("".join(f"{fault}\n" for fault in faults) or f"{sound}\n")
    return 1 if faults else 0


def verify(path: Path, head: str | None = None) -> list[str]:
    """Everything wrong with an audit, older files included; empty when the chain holds.

    ``head``: a head announced earlier, which must be in the file.
    """
    return verify_lines(_lines(path), head)


def verify_lines(whole: Iterable[bytes], head: str | None = None) -> list[str]:
    """Everything wrong with these lines, each given with its end."""
    faults, previous, heads = [], START, {START}
    lines = list(enumerate(whole, start=1))
    first = _parsed(lines[0][1]) if lines else None
    if first is not None and first.get("event") == _CONTINUED:
        # The entry before it was in a file that is older than those that are kept.
        previous = str(first.get("previous"))
    for number, line in lines:
        entry = _parsed(line)
        if entry is None:
            after = _parsed(lines[number][1]) if number < len(lines) else None
            if after is None or after.get("event") != _TORN:
                faults.append(f"line {number} is not readable")
        elif entry.get("previous") != previous:
            faults.append(f"line {number} does not follow from the line before it")
        previous = hash_of(line)
        heads.add(previous)
    if head is not None and head not in heads:
        faults.append(f"the line with the hash {head} is missing")
    return faults


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of all files, oldest first."""
    for number in range(GENERATIONS - 1, -1, -1):
        try:
            with _older(path, number).open("rb") as lines:
                yield from lines
        except FileNotFoundError:
            if number == 0:
                raise


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and line.endswith(b"\n") else None


def line_of(entry: dict[str, object]) -> bytes:
    return json.dumps(entry, ensure_ascii=True, sort_keys=True).encode() + b"\n"


def hash_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
