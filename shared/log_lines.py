"""Writes the lines of the log: each at once, or those of a piece of work together.

Each write lets another thread have the interpreter, and costs as much as making the line. A batch
of alerts logs hundreds of lines.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Gathered(threading.local):
    """The lines that this thread has not written yet, by file; None: it writes each at once."""

    lines: dict[TextIO, list[str]] | None = None


_GATHERED = _Gathered()
_WRITING = threading.Lock()


class LineLogger:
    """The logger to which structlog gives its finished lines."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def info(self, line: str) -> None:
        """Write the line, or gather it in a block of `together`."""
        if _GATHERED.lines is None:
            _write(self._file, [line])
        else:
            _GATHERED.lines.setdefault(self._file, []).append(line)

    def error(self, line: str) -> None:
        """Write the line now, with those before it, because the process may be about to end."""
        self.info(line)
        _write_gathered()

    debug = info
    warning = critical = error


@contextmanager
def together() -> Iterator[None]:
    """Write what this thread logs in the block in one piece when it ends, however it ends."""
    if _GATHERED.lines is not None:
        yield
        return
    _GATHERED.lines = {}
    try:
        yield
    finally:
        _write_gathered()
        _GATHERED.lines = None


def _write_gathered() -> None:
    for file, lines in (_GATHERED.lines or {}).items():
        _write(file, lines)
        lines.clear()


def _write(file: TextIO, lines: list[str]) -> None:
    if lines:
        with _WRITING:
            file.write("".join([f"{line}\n" for line in lines]))
            file.flush()
