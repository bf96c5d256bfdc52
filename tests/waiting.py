"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def eventually(read: Callable[[], _T], what: str, timeout_s: float = 120) -> _T:
    """Read until it gives something true; AssertionError with ``what`` when it never does."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = read()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}; last: {value!r}"
        time.sleep(0.1)
