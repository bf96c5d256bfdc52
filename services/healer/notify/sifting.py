"""Sorts the due alerts into those to notify, hold back or drop, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.healer.model.notification import NotificationState, NotificationStatus
from services.healer.notify.filters import Announce, Drop, Filters, Hold
from shared.changes import changed


@dataclass
class Sifted:
    """The notification states, sorted by what is done with them."""

    tell: list[NotificationState] = field(default_factory=list)
    held: list[tuple[NotificationState, Hold]] = field(default_factory=list)
    dropped: list[tuple[NotificationState, Drop]] = field(default_factory=list)

    def attached(self) -> dict[str, tuple[NotificationState, Hold]]:
        """The alerts newly attached to a cause, with the hold, by incident."""
        return {
            notification.incident_id: (notification, hold)
            for notification, hold in self.held
            if hold.cause and notification.status is not NotificationStatus.HELD
        }

    def __add__(self, other: Sifted) -> Sifted:
        return Sifted(self.tell + other.tell, self.held + other.held, self.dropped + other.dropped)


def sifted(candidates: Sequence[NotificationState], filters: Filters) -> Sifted:
    """The candidates under these filters, in their order."""
    found = Sifted()
    # The latest alert of a series must be considered first.
    newest_first = sorted(candidates, key=lambda notification: notification.since, reverse=True)
    verdicts = {each.incident_id: filters.verdict(each) for each in newest_first}
    for notification in candidates:
        match verdicts[notification.incident_id]:
            case Hold() as hold:
                found.held.append((notification, hold))
            case Drop() as drop:
                found.dropped.append((notification, drop))
            case verdict:
                announces = isinstance(verdict, Announce)
                found.tell.append(_announcing(notification, announces=announces))
    return found


def _announcing(notification: NotificationState, *, announces: bool) -> NotificationState:
    same = notification.announces == announces
    return notification if same else changed(notification, announces=announces)


def without(sifted: Sifted, incidents: Iterable[str]) -> Sifted:
    """The held and dropped alerts, but for these incidents."""
    left_out = set(incidents)
    return Sifted(
        [],
        [each for each in sifted.held if each[0].incident_id not in left_out],
        [each for each in sifted.dropped if each[0].incident_id not in left_out],
    )
