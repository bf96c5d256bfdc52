"""Filters and groups of the list of alerts; pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
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
        return self.fits(dict(alert))

    def fits(self, alert: Mapping[str, Any]) -> bool:
        """Return whether it is wanted, by its fields."""
        if self.severity and alert["severity"] != self.severity:
            return False
        wanted = ((self.host, ("host",)), (self.item, ("item",)), (self.search, _SEARCHED))
        for part, names in wanted:
            folded = part.casefold()
            if part and not any(folded in alert.get(name, "").casefold() for name in names):
                return False
        return True

    def may_match(self) -> Callable[[str], bool]:
        """Return whether an alert may match, by its JSON alone, because parsing it is slow.

        The text excludes most alerts; the words that it has may be a field's name, so such an alert
        is parsed.
        """
        parts = [part.casefold() for part in self.written]

        def may(data: str) -> bool:
            folded = data.casefold()
            return all(part in folded for part in parts) and self.fits(orjson.loads(data))

        return may if parts else lambda _: True

    @property
    def written(self) -> list[str]:
        """The parts of names that are asked for, as JSON has them."""
        parts = [part for part in (self.host, self.item, self.search) if part]
        return [json.dumps(part, ensure_ascii=False)[1:-1] for part in parts]


@dataclass(slots=True)
class Group:
    """The alerts of one machine or item in numbers, of which there may be thousands."""

    name: str
    first_at: datetime
    """The start of the oldest of them."""
    alerts: int = 0
    others: dict[str, None] = field(default_factory=dict)
    """The items of the machine, or the machines of the item; those of the most urgent first."""
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def severities(self) -> list[tuple[str, int]]:
        """Return how many there are of each severity; what has ended counts as resolved."""
        order = (Severity.CRITICAL, Severity.WARNING, Severity.INFO, RESOLVED)
        return [(str(name), self.counts[str(name)]) for name in order if self.counts[str(name)]]


def grouped(alerts: Iterable[Mapping[str, Any]], by: Literal["host", "item"]) -> list[Group]:
    """The groups of alerts, which come as JSON has them and the most urgent first, as groups do."""
    groups: dict[str, Group] = {}
    other = "item" if by == "host" else "host"
    for alert in alerts:
        name, first_at = alert[by], datetime.fromisoformat(alert["first_at"])
        group = groups.get(name)
        if group is None:
            group = groups[name] = Group(name, first_at)
        group.first_at = min(group.first_at, first_at)
        group.alerts += 1
        group.others[alert[other]] = None
        group.counts[RESOLVED if alert["state"] == RESOLVED else alert["severity"]] += 1
    return list(groups.values())
