"""A temporary folder for each test session, so that sessions of one user leave each other alone.

pytest's own folders of a user share a parent that every new session closes to other users, also
while tests of another session run programs as such users.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

_KEPT = 2
"""So many ended sessions stay to be looked at."""


class SessionFolder:
    """A numbered folder that nobody removes before its session has ended."""

    def __init__(self, place: Path) -> None:
        _own(place)
        with _locked(place / "door"):
            numbers = [int(lock.stem) for lock in place.glob("*.lock")]
            ended = [number for number in sorted(numbers) if _has_ended(place, number)]
            for number in ended[:-_KEPT]:
                shutil.rmtree(place / str(number), ignore_errors=True)
                _lock(place, number).unlink()
            number = max(numbers, default=0) + 1
            self._lock = _locked(_lock(place, number))
        self.path = place / str(number)

    def close(self) -> None:
        """End the session; a later one removes the folder."""
        self._lock.close()


def place_of_sessions() -> Path:
    """Where this user's sessions have their folders; PYTEST_DEBUG_TEMPROOT names another root."""
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()
    return Path(root).resolve() / f"barograph-tests-{os.geteuid()}"


def _own(place: Path) -> None:
    """Make a folder through which others may pass; one that is there must be ours."""
    place.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        raise PermissionError(
            f"{place} belongs to somebody else: PYTEST_DEBUG_TEMPROOT names another root"
        )
    place.chmod(0o711)


def _lock(place: Path, number: int) -> Path:
    return place / f"{number}.lock"


def _locked(path: Path) -> TextIO:
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _has_ended(place: Path, number: int) -> bool:
    with _lock(place, number).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
