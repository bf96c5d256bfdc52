"""Filters and groups of the list of alerts; pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.client.alerts.records import OPEN_RANKS, RESOLVED, AlertView, Episode
from shared.contracts.alerts import Severity

_SEARCHED = ("series", "sentence", "outcome", "acknowledged_by")


class Filter(BaseModel):
    """A filter of alerts; an empty field matches all."""

    model_config = ConfigDict(frozen=True)

    state: str = ""
    """A state, or ``open`` for those that are not resolved."""
    severity: str = ""
    host: str = ""
    item: str = ""
    search: str = ""

    @property
    def ranks(self) -> Sequence[str]:
        """The ranks that can hold such alerts."""
        ranks = [rank for rank in OPEN_RANKS if self.state in ("", "open", rank.split("-")[0])]
        if self.severity:
            ranks = [rank for rank in ranks if rank.endswith(f"-{self.severity}")]
        return [*ranks, *([RESOLVED] if self.state in ("", RESOLVED) else [])]

    def matches(self, alert: AlertView | Episode) -> bool:
        """Return whether it is wanted; parts of names are enough, in any case of letters."""
        return self._fits(dict(alert))

    def _fits(self, alert: Mapping[str, Any]) -> bool:
        if self.severity and alert["severity"] != self.severity:
            return False
        searched = [alert.get(name, "") for name in _SEARCHED]
        wanted = ((self.host, [alert["host"]]), (self.item, [alert["item"]]))
        return all(
            any(part.casefold() in text.casefold() for text in texts)
            for part, texts in (*wanted, (self.search, searched))
        )

    def may_match(self) -> Callable[[str], bool]:
        """Return whether an alert may match, by its JSON alone, because parsing it is slow.

        The text excludes most alerts; the words that it has may be a field's name, so such an alert
        is parsed.
        """
        parts = [json.dumps(part, ensure_ascii=False)[1:-1].casefold() for part in self._parts]

        def may(data: str) -> bool:
            folded = data.casefold()
            return all(part in folded for part in parts) and self._fits(json.loads(data))

        return may if parts else lambda _: True

    @property
    def _parts(self) -> list[str]:
        return [part for part in (self.host, self.item, self.search) if part]


@dataclass(frozen=True)
class Group:
    """The alerts of one machine or item, the most urgent first."""

    name: str
    alerts: tuple[AlertView, ...]

    @property
    def severities(self) -> list[tuple[str, int]]:
        """Return how many there are of each severity; what has ended counts as resolved."""
        counted = Counter(str(each.severity) if each.is_open else RESOLVED for each in self.alerts)
        order = (Severity.CRITICAL, Severity.WARNING, Severity.INFO, RESOLVED)
        return [(str(name), counted[str(name)]) for name in order if counted[str(name)]]

    @property
    def first_at(self) -> datetime:
        """The start of the oldest of them."""
        return min(each.first_at for each in self.alerts)
