"""Conditions of a TFJob's status, kept as the v1 operator keeps them.

Whoever waits for a TFJob reads the conditions' types and states, and `kubectl get` shows the last
one's type: so the order of the list counts, and so does which condition takes another's place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Condition = dict[str, Any]
_MAX_TEXT = 2000
_INSTEAD_OF = {"Running": "Restarting", "Restarting": "Running"}


@dataclass(frozen=True)
class News:
    """A condition as it is now."""

    type: str
    reason: str
    message: str
    holds: bool = True

    @property
    def status(self) -> str:
        return "True" if self.holds else "False"


def moment(at: datetime) -> str:
    """A time as Kubernetes writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def updated(conditions: list[Condition], news: Iterable[News], now: datetime) -> list[Condition]:
    """``conditions`` after all of this; those that are as they were keep their place and times."""
    for each in news:
        conditions = _with(conditions, each, moment(now))
    return conditions


def _with(conditions: list[Condition], news: News, now: str) -> list[Condition]:
    known = next((c for c in conditions if c.get("type") == news.type), None)
    condition = {
        "type": news.type,
        "status": news.status,
        "reason": news.reason,
        "message": news.message[:_MAX_TEXT],
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    if known is not None and known.get("status") == news.status:
        condition["lastTransitionTime"] = known.get("lastTransitionTime", now)
        if known.get("reason") == news.reason:
            if known.get("message") == condition["message"]:
                return conditions
            # Other words for the same: no change of state, so it keeps its place.
            return [condition if c is known else c for c in conditions]
    left = [_stopped(c, news) for c in conditions if _stays(c, news)]
    return [*left, condition]


def _stays(condition: Condition, news: News) -> bool:
    return condition.get("type") not in (news.type, _INSTEAD_OF.get(news.type))


def _stopped(condition: Condition, news: News) -> Condition:
    """The condition after the news: a TFJob that has ended does not run any more."""
    ended = news.type in {"Succeeded", "Failed"} and condition.get("type") == "Running"
    return condition | {"status": "False"} if ended else condition
