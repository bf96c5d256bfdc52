"""Recognises TensorFlow's own start-up messages among the lines of a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NOTE = re.compile(
    r"^(?:[a-z]+-\d+(?:/\d+)?  )?"  # the member whose line it is
    r"(?:WARNING: All log messages before absl::InitializeLog\(\)"
    r"|I\d{4} [\d:.]+ +\d+ \w+\.cc:\d+\])"
)


class WithoutNotes:
    """Gives lines of a job's log, but for the notes that every start of TensorFlow logs.

    No environment variable silences them (``TF_CPP_MIN_LOG_LEVEL`` rules other lines). Only what
    is shown here is without them: the stored log has every line.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.left_out = 0
        """The number of lines so far that were notes."""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if _NOTE.match(line):
                self.left_out += 1
            else:
                yield line
