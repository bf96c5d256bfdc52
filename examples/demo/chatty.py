"""A program that logs too much: an active file, and finished ones beside it.

``python -m examples.demo.chatty DIRECTORY BYTES_PER_SECOND``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_LINE = "2026-01-01 00:00:00 INFO request served in 12 ms, nothing to see here, number {:012d}\n"
_ROTATE_BYTES = 1_000_000
_PAUSE_S = 0.1
_LONGEST_S = 600


def main(directory: Path, bytes_per_second: float) -> None:
    """Write at a steady rate; a full file becomes ``app.log.<n>``."""
    active = directory / "app.log"
    number = count = 0
    begin = time.monotonic()
    written = 0
    file = active.open("w")
    while (spent := time.monotonic() - begin) < _LONGEST_S:
        while written < spent * bytes_per_second:
            written += file.write(_LINE.format(count))
            count += 1
        file.flush()
        if file.tell() >= _ROTATE_BYTES:
            file.close()
            number += 1
            active.rename(directory / f"app.log.{number}")
            file = active.open("w")
        time.sleep(_PAUSE_S)
    file.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
