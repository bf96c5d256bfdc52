"""Removes what has ended: unknown members, expired records and their stored objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

import structlog

from services.task import states
from services.task.records import JOBS
from services.task.runtime import Observed, Runtime
from services.task.settings import TaskSettings
from shared.service import Context, ServiceUnit
from shared.storage import ObjectStore, StorageError, StorageUnavailable

log = structlog.get_logger(__name__)

_AT_ONCE = 50
_REMOVING = "removing"


class Removal:
    """Removes unknown members and expired jobs; each call may be interrupted and is repeated.

    Args:
        settings: the bucket, and how long a member may take to end.
        runtime: where members run.
        store: holds packages, logs and models.
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
        may_act: raises when another replica may be at work by now.
    """

    def __init__(
        self,
        settings: TaskSettings,
        runtime: Runtime,
        store: ObjectStore,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        context: Callable[[ServiceUnit], Context],
        may_act: Callable[[], None] = lambda: None,
    ) -> None:
        self._may_act = may_act
        self._settings, self._runtime, self._store = settings, runtime, store
        self._unit, self._context = unit, context

    def strays(self, known: Collection[str], observed: Mapping[str, list[Observed]]) -> None:
        """End the members of these jobs, which are not live according to the records.

        What was live when a pass began is remembered, or was cleaned up by it.
        """
        if not known:
            return
        with self._unit() as unit:
            strays = [
                job_id
                for job_id in known
                if (r := unit.records.get(JOBS, job_id)) is None or r.cleaned
            ]
        for job_id in strays:
            self._may_act()
            living = [o.member for o in observed.get(job_id, ()) if o.alive]
            self._runtime.end(job_id, living, self._settings.stop_grace_s)
            if not living:
                self._runtime.remove(job_id)

    def expire(self) -> None:
        """Delete ended jobs that were removed or have expired, and their stored objects."""
        with self._unit() as unit:
            now = self._context(unit).now
            due = unit.records.find(JOBS, due_before=now, limit=_AT_ONCE)
            asked = unit.records.find(JOBS, group=_REMOVING, limit=_AT_ONCE)
        for record in {r.job_id: r for r in [*asked, *due]}.values():
            if not record.cleaned:
                continue
            try:
                self._delete_stored(record.job_id)
            except StorageUnavailable:
                raise
            except StorageError as error:
                # An object that the store does not delete, such as a locked one, keeps its own job.
                log.warning("removal_postponed", job=record.job_id, error=str(error))
                continue
            reason = "removed on request" if record.removing else "kept long enough"
            with self._unit() as unit:
                now = self._context(unit).now
                unit.emit(states.removed(record, reason, now))
                unit.records.delete(JOBS, record.job_id)

    def _delete_stored(self, job_id: str) -> None:
        bucket = self._settings.s3_bucket
        keys = [info.key for info in self._store.list(bucket, f"jobs/{job_id}/")]
        if keys:
            self._may_act()
            self._store.delete(bucket, keys)
