"""The reasons why jobs wait, and how long each has lasted."""

from __future__ import annotations

from collections.abc import Callable, Collection

from services.task.runtime import Pending
from shared.contracts import PendingCause

_PASSING = {PendingCause.NODE, PendingCause.GANG, PendingCause.QUEUE}
"""Causes that belong to every start, and usually pass at once."""
PASSING_S = 1.5


class WaitingReasons:
    """Distinguishes reasons that are worth publishing from those that pass by themselves."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[str, tuple[PendingCause, float]] = {}

    def lasts(self, job_id: str, found: Pending | None) -> bool:
        """Return whether a reason is worth publishing; temporary causes must have lasted."""
        if found is None or found.overdue or found.cause not in _PASSING:
            self.forget(job_id)
            return True
        cause, since = self._since.get(job_id, (None, 0.0))
        if cause is not found.cause:
            since = self._clock()
            self._since[job_id] = found.cause, since
        return self._clock() - since >= PASSING_S

    def forget(self, job_id: str) -> None:
        """The job waits no longer."""
        self._since.pop(job_id, None)

    def keep_only(self, job_ids: Collection[str]) -> None:
        """Forget all other jobs."""
        for job_id in self._since.keys() - {*job_ids}:
            del self._since[job_id]
