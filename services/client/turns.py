"""Turns at another server, so that one that hangs does not occupy every thread of this service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MAX_WAIT_S = 1.0


class TooManyError(Exception):
    """Too many requests wait for that server already."""


class Turns:
    """Lets some threads ask at a time, and twice as many wait for a moment.

    Args:
        at_once: the threads that may ask.
    """

    def __init__(self, at_once: int) -> None:
        self._asking = threading.BoundedSemaphore(at_once)
        self._here = threading.BoundedSemaphore(3 * at_once)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a turn, and hold it.

        Raises:
            TooManyError: at once where too many wait, else when none was free within a second.
        """
        if not self._here.acquire(blocking=False):
            raise TooManyError
        try:
            if not self._asking.acquire(timeout=_MAX_WAIT_S):
                raise TooManyError
            try:
                yield
            finally:
                self._asking.release()
        finally:
            self._here.release()
