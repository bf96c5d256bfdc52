"""A program that logs too much: an active file, and finished ones beside it.

It goes on until it is stopped, or until whoever started it has ended.

``python -m examples.demo.chatty DIRECTORY BYTES_PER_SECOND``
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_LINE = "2026-01-01 00:00:00 INFO request served in 12 ms, nothing to see here, number {:012d}\n"
_ROTATE_BYTES = 1_000_000
_PAUSE_S = 0.1


def main(directory: Path, bytes_per_second: float) -> None:
    """Write at a steady rate; a full file becomes ``app.log.<n>``."""
    active = directory / "app.log"
    number = count = 0
    begin, starter = time.monotonic(), os.getppid()
    written = 0
    file = active.open("w")
    while os.getppid() == starter:
        while written < (time.monotonic() - begin) * bytes_per_second:
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
