"""Prints logs to a terminal or a pipe, in whole lines with the member's name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TextIO

from shared.visible import sign

_COMMAND = re.compile(r"\x1b(?!\[[0-9;:]*m)|[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
"""Sequences that move a terminal's cursor, rename its window or answer for its user."""


def prefix(member: str, incarnation: int, *, alone: bool) -> str:
    """The prefix of each line of a member's log; empty for the only one of its job."""
    if incarnation > 1:
        return f"{member}/{incarnation}  "
    return "" if alone else f"{member}  "


class LogPrinter:
    """Prints pieces of several logs so that no line of one is broken by another's.

    A line ends at a line feed and nowhere else: carriage returns of progress bars, form feeds and
    Unicode's other separators belong to it. A line that has not ended yet is kept back while its
    log has a prefix. A log without one is alone and passes through as it comes.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._safe = self._out.isatty()
        self._kept: dict[str, list[str]] = {}
        self._ended = True

    def print(self, before: str, piece: str) -> None:
        """Print what ``piece`` completes."""
        if not before:
            self._write(piece)
            return
        *whole, rest = piece.split("\n")
        kept = self._kept.setdefault(before, [])
        for line in whole:
            self._line(before, (*kept, line))
            kept.clear()
        if rest:
            kept.append(rest)

    def close(self) -> None:
        """Print the lines that never ended."""
        for before, kept in self._kept.items():
            if kept:
                self._line(before, kept)
        self._kept.clear()
        self.end_line()

    def end_line(self) -> None:
        """Let what is written next begin a line of its own on a terminal."""
        if self._safe and not self._ended:
            self._write("\n")

    def _line(self, before: str, parts: Iterable[str]) -> None:
        start = "" if self._ended else "\n"
        self._write("".join((start, before, *parts, "\n")))

    def _write(self, text: str) -> None:
        if not text:
            return
        self._out.write(
            _COMMAND.sub(lambda found: sign(found.group()), text) if self._safe else text
        )
        self._out.flush()
        self._ended = text.endswith("\n")
