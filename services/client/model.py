"""Reading (and, for what was just asked, writing) the read model outside of handlers."""

from __future__ import annotations

from datetime import datetime

from services.client.records import CHUNKS, JOBS, REMOVED, SUBMITTED, JobView, LogChunk
from shared.contracts import JobState, JobSubmit
from shared.store import Store

_PRUNED_AT_ONCE = 1000
SHOWN_STATES = (*(s.value for s in JobState), SUBMITTED, "refused")


class ReadModel:
    """Jobs and log chunks in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def job(self, job_id: str) -> JobView | None:
        """The job, None if it is not known or has been removed."""
        with self._store.transaction() as records:
            view = records.get(JOBS, job_id)
        return None if view is None or view.state == REMOVED else view

    def jobs(self, states: tuple[str, ...], limit: int, offset: int) -> list[JobView]:
        """Newest first; all states but removed when none is named."""
        with self._store.transaction() as records:
            return records.find(
                JOBS, status=states or SHOWN_STATES, limit=limit, offset=offset, newest_first=True
            )

    def submitted(self, message: JobSubmit, now: datetime) -> JobView:
        """Show a job that the broker has, before the task service has answered."""
        view = JobView(
            job_id=message.job_id, name=message.name, state=SUBMITTED, sequence=0,
            created_at=now, updated_at=now, submit=message,
            reason="handed in; not yet seen by the task service",
        )  # fmt: skip
        with self._store.transaction() as records:
            known = records.get(JOBS, message.job_id)
            if known is None or (known.sequence == 0 and known.state != SUBMITTED):
                records.put(JOBS, view)
                return view
            return known

    def chunks(self, job_id: str, offset: int, limit: int = 100) -> list[LogChunk]:
        """Log chunks in order of arrival, from the ``offset``-th on."""
        with self._store.transaction() as records:
            return records.find(CHUNKS, group=job_id, offset=offset, limit=limit)

    def prune(self, now: datetime) -> None:
        """Forget removed and refused jobs after their time."""
        with self._store.transaction() as records:
            for view in records.find(JOBS, due_before=now, limit=_PRUNED_AT_ONCE):
                records.delete(JOBS, view.job_id)
