"""The roles of the client's API and pages."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The rights of a caller; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"

    def allows(self, wanted: Role) -> bool:
        """Return whether a caller of this role may do what ``wanted`` is needed for."""
        return _ORDER.index(self) >= _ORDER.index(wanted)


_ORDER = tuple(Role)
