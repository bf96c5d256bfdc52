"""Checks with the healer, a few times a minute, that critical alerts reach people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.client.healer_api import HealerApi, HealerRefused, HealerUnavailable

_FRESH_S = 10.0


@dataclass(frozen=True)
class Reach:
    """The healer's answer for the start page."""

    problems: tuple[str, ...] = ()
    unheard: dict[str, str] = field(default_factory=dict)
    """The reason why nobody was notified, for each alert."""


class Reaching:
    """Caches the healer's answer for some seconds."""

    def __init__(self, healer: HealerApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._healer = healer
        self._clock = clock
        self._lock = threading.Lock()
        self._newest = Reach()
        self._asked_at: float | None = None

    def now(self) -> Reach:
        """The newest answer; one that is being asked for is not waited for."""
        if not self._healer.known or not self._lock.acquire(blocking=False):
            return self._newest
        try:
            if self._asked_at is None or self._clock() - self._asked_at >= _FRESH_S:
                self._newest = self._ask()
                self._asked_at = self._clock()
            return self._newest
        finally:
            self._lock.release()

    def _ask(self) -> Reach:
        try:
            answer = self._healer.glance("reachability")
            problems = tuple(map(str, answer["problems"]))
            unheard = {str(each["alert_id"]): _words(each) for each in answer.get("unheard", ())}
        except (HealerUnavailable, HealerRefused, LookupError, TypeError, ValueError):
            return Reach(("The healer does not answer: nobody is notified of anything new.",))
        return Reach(problems, unheard)


def _words(each: dict[str, Any]) -> str:
    until = each.get("until")
    end = f" until {datetime.fromisoformat(until):%Y-%m-%d %H:%M:%S} UTC" if until else ""
    return f"{each['why']}{end}"
