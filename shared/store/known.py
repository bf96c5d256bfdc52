"""The records that a transaction knows without asking the database again.

A unit of the store holds the database's one write lock from its begin to its end, so what it has
read stays true until it changes it itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class _Unknown:
    """A record that is not cached; the database may have it."""


UNKNOWN: Final = _Unknown()


class KnownGroup:
    """The newest records of a group by key, oldest of them first."""

    def __init__(self, records: Mapping[str, Any], *, complete: bool) -> None:
        self.records = dict(records)
        self.complete = complete
        """True if all records of the group are known here."""


class Known:
    """The records of one collection by key, and those groups that were read ahead."""

    def __init__(self) -> None:
        self._keys: dict[str, Any] = {}
        self._groups: dict[str, KnownGroup] = {}
        self._group_of: dict[str, str] = {}

    def get(self, key: str) -> Any:
        """The record, None when there is none, or UNKNOWN."""
        return self._keys.get(key, UNKNOWN)

    def group(self, group: str) -> KnownGroup | None:
        """The group, if it was read ahead and nothing came to it since."""
        return self._groups.get(group)

    def learn(self, records: Mapping[str, Any]) -> None:
        """The database's record, None for a key it has not."""
        self._keys.update(records)

    def learn_group(self, group: str, known: KnownGroup) -> None:
        """The database's records of a group."""
        self.learn(known.records)
        self._groups[group] = known
        self._group_of |= dict.fromkeys(known.records, group)

    def put(self, key: str, group: str | None, record: Any) -> None:
        """The record is now this."""
        self._keys[key] = record
        before = self._group_of.get(key)
        if before is not None and before == group:
            self._groups[before].records[key] = record
            return
        # It left a group or came to one: in which place only the database knows.
        for changed in (before, group):
            if changed is not None:
                self._drop(changed)

    def delete(self, key: str) -> None:
        """There is no such record now."""
        self._keys[key] = None
        group = self._group_of.get(key)
        if group is not None:
            self._drop(group)

    def _drop(self, group: str) -> None:
        known = self._groups.pop(group, None)
        for key in known.records if known is not None else ():
            del self._group_of[key]
