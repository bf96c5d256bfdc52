"""Log files of bounded size, of which a few older ones are kept.

The processes that write them hold them open for appending, so a full file is copied and then
emptied. What is written between the two is lost: some lines at most, of many thousands.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

log = structlog.get_logger(__name__)

MAX_BYTES = 8 * 2**20
"""Size at which a log file is cut."""
GENERATIONS = 2
"""The number of older files kept beside each: ``task.log.1`` is the newest of them."""


def open_log(path: Path) -> BinaryIO:
    """Open for appending a log that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def rotate(path: Path, most_bytes: int = MAX_BYTES, generations: int = GENERATIONS) -> bool:
    """Cut a log that is full; whether it was."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return False
    if size <= most_bytes:
        return False
    for number in range(generations - 1, 0, -1):
        with suppress(FileNotFoundError):
            _older(path, number).replace(_older(path, number + 1))
    try:
        _copy_end(path, _older(path, 1), most_bytes)
    except OSError:
        # The disk is probably full; truncating the log makes room.
        log.exception("log_not_kept", path=str(path))
        _older(path, 1).unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _copy_end(path: Path, target: Path, most_bytes: int) -> None:
    """The newest bytes: a process may have written far more than it should since we looked."""
    target.unlink(missing_ok=True)
    with path.open("rb") as source, open_log(target) as copy:
        source.seek(max(0, os.fstat(source.fileno()).st_size - most_bytes))
        shutil.copyfileobj(source, copy)
