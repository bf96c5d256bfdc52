"""Deletes files that a job's user left in world-writable directories."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from shared import trees

log = structlog.get_logger(__name__)

SHARED = (Path("/dev/shm"), Path("/dev/mqueue"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where others leave files
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def clear(uid: int, places: Sequence[Path] = SHARED) -> int:
    """Delete a user's entries directly in ``places``; how many there were.

    Called once no process of that user is left, so that nobody can put another file in the place
    of one that was looked at: these directories are sticky. Links are deleted and never followed.
    A user whom the machine has an account for is nobody of ours.
    """
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return 0
    deleted = 0
    for place in places:
        try:
            at = os.open(place, _DIRECTORY)
        except OSError:
            continue  # not every machine has each of them
        try:
            with os.scandir(at) as entries:
                own = [entry.name for entry in entries if _owner(entry) == uid]
            deleted += sum(_deleted(name, at) for name in own)
        except OSError as error:
            log.warning("leftovers_not_cleared", place=str(place), error=str(error))
        finally:
            os.close(at)
    return deleted


def _owner(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_uid
    except FileNotFoundError:
        return None  # others use these directories, too, and it is gone already


def _deleted(name: str, at: int) -> bool:
    try:
        trees.delete_at(name, at)
    except OSError as error:
        log.warning("leftover_kept", name=name[:200], error=str(error))
        return False
    return True
