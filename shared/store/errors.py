"""Failures that keep a service from its database."""

from __future__ import annotations

from shared.unavailable import Unavailable


class StoreUnavailable(Unavailable):
    """The database cannot be reached or is locked; a later attempt may succeed."""


class StoreUnfit(StoreUnavailable):
    """The database answers, but cannot be used as it is, and waiting does not change that."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


class NotLeader(Unavailable):
    """Another replica of the service leads: nothing that only the leader does may be done here."""


class StoreInUse(Exception):
    """Another process works with this database, which serves one alone."""
