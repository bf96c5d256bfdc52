"""The directory of a launcher: one launcher holds it, and none goes on without it."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_LOOK_S = 5.0
_LOCK_TRIES = 20


def locked(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; False when another launcher holds it."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


class DirectoryWatch:
    """Looks now and then whether the directory is there.

    Without it no runtime finds the launcher or the end it notes, and what it would still store is
    gone: it would try again for hours, and hear no request to end meanwhile.

    Args:
        directory: what must be there.
        gone: called once, in the thread of the watch, when it is not.
        look_s: the pause between two looks.
    """

    def __init__(self, directory: Path, gone: Callable[[], None], look_s: float = _LOOK_S) -> None:
        self._directory, self._gone, self._look_s = directory, gone, look_s

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="directory-watch", daemon=True).start()

    def _run(self) -> None:
        while not self._is_gone():
            time.sleep(self._look_s)
        log.error("directory_gone", directory=str(self._directory))
        self._gone()

    def _is_gone(self) -> bool:
        """Return whether it was deleted; a disk that fails for a while has lost nothing."""
        try:
            self._directory.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False
