"""Decisions about jobs, applied together when all jobs of a pass have been examined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import structlog

from services.task.records import ACTIVE_STATES, JOBS, JobRecord
from shared.changes import with_changes
from shared.contracts import Message
from shared.service import Context, ServiceUnit
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

Decide = Callable[[JobRecord, Context], Iterable[Message]]
"""Decides about an active job, given its latest record."""


class Decisions:
    """Applies decisions to the latest records, which handlers may have changed meanwhile.

    Args:
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
    """

    def __init__(
        self,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        context: Callable[[ServiceUnit], Context],
    ) -> None:
        self._unit, self._context = unit, context
        self._taken: list[tuple[str, Decide]] = []

    def add(self, job_id: str, decide: Decide) -> None:
        """Apply ``decide`` to the job, if it is active then."""
        self._taken.append((job_id, _of_active(decide)))

    def cleaned(self, job_id: str) -> None:
        """Record that nothing of the ended job is left."""
        self._taken.append((job_id, _cleaned))

    def apply(self) -> None:
        """Take all of them in one transaction."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        try:
            self._commit(taken)
        except Unavailable:
            raise
        except Exception:
            # An unexpected error must not undo the other decisions.
            log.exception("decisions_taken_apart", decisions=len(taken))
            for each in taken:
                self._commit_one(each)

    def _commit_one(self, taken: tuple[str, Decide]) -> None:
        try:
            self._commit([taken])
        except Unavailable:
            raise
        except Exception:
            log.exception("decision_failed", job=taken[0])

    def _commit(self, taken: Iterable[tuple[str, Decide]]) -> None:
        with self._unit() as unit:
            ctx, messages = self._context(unit), list[Message]()
            for job_id, decide in taken:
                newest = unit.records.get(JOBS, job_id)
                if newest is not None:
                    messages += decide(newest, ctx)
            unit.emit(*messages)


def _of_active(decide: Decide) -> Decide:
    def apply(record: JobRecord, ctx: Context) -> Iterable[Message]:
        return decide(record, ctx) if record.state in ACTIVE_STATES else ()

    return apply


def _cleaned(record: JobRecord, ctx: Context) -> Iterable[Message]:
    ctx.records.put(JOBS, with_changes(record, cleaned=True))
    return ()
