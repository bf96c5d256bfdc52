"""Removal of what is over: members nobody remembers, records and what is stored of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

from services.task import states
from services.task.records import JOBS
from services.task.runtime import Observed, Runtime
from services.task.settings import TaskSettings
from shared.service import Context, ServiceUnit
from shared.storage import ObjectStore

_AT_ONCE = 50
_REMOVING = "removing"


class Removal:
    """Removes strays and expired jobs; each call may be broken off and comes again.

    Args:
        settings: the bucket, and how long a member may take to end.
        runtime: where members run.
        store: where packages, logs and models lie.
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
        """End the members that nobody remembers of these jobs, which are not live.

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
        """Forget ended jobs that were removed or whose time is over, and what is stored."""
        with self._unit() as unit:
            now = self._context(unit).now
            due = unit.records.find(JOBS, due_before=now, limit=_AT_ONCE)
            asked = unit.records.find(JOBS, group=_REMOVING, limit=_AT_ONCE)
        for record in {r.job_id: r for r in [*asked, *due]}.values():
            if not record.cleaned:
                continue
            prefix, bucket = f"jobs/{record.job_id}/", self._settings.s3_bucket
            keys = [info.key for info in self._store.list(bucket, prefix)]
            if keys:
                self._may_act()
                self._store.delete(bucket, keys)
            reason = "removed on request" if record.removing else "kept long enough"
            with self._unit() as unit:
                now = self._context(unit).now
                unit.emit(states.removed(record, reason, now))
                unit.records.delete(JOBS, record.job_id)
