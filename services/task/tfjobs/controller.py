"""Reconciles jobs with TFJobs, and the status of TFJobs with jobs.

Each pass starts from the objects as they are and from the records, so it may be interrupted
anywhere. No finalizer holds an object: what was made of it is in the records by its uid, so a
deletion that nobody saw shows as a record whose object is missing, after a restart as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

import structlog

from services.task import handlers
from services.task.records import JOBS, JobRecord
from services.task.spec import checkpoint_key
from services.task.tfjobs import status as statuses
from services.task.tfjobs.conditions import moment
from services.task.tfjobs.conversion import Refused, convert, job_id
from services.task.tfjobs.records import TFJOBS, TFJobRecord
from services.task.tfjobs.source import TFJobSource, changed
from services.task.tfjobs.status import Status
from services.task.tfjobs.tfjob import TFJob
from shared.changes import with_changes
from shared.cluster import ClusterError, ClusterUnavailable, NotFound
from shared.contracts import DEFAULT_PROJECT, JobCancel, JobState, JobSubmit, Message
from shared.messaging.errors import Declined
from shared.service import Context, ServiceUnit
from shared.storage import NotFound as NoObject
from shared.storage import ObjectStore, StorageError, StorageUnavailable
from shared.store.records import Memory

log = structlog.get_logger(__name__)

_DELETED = "its TFJob was deleted"
_SUSPENDED = "its TFJob was suspended"
_MAX_SUBMITTED = 50
"""The TFJobs taken in one pass: thousands applied at once must not delay reports of others."""
_MAX_FAILED = 3
"""The failures in a row that end a pass."""
_ELSEWHERE = "begun by another operator, so left alone; delete and apply it again to run it here"


class TFJobs:
    """One pass after the other over all TFJobs.

    Args:
        source: where they are.
        store: where packages and checkpoints lie.
        bucket: of both.
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
        submit: the handler of ``job.submit``.
        projects: the project of each namespace that is one's own; all others are the default's.
    """

    def __init__(
        self,
        source: TFJobSource,
        store: ObjectStore,
        bucket: str,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        context: Callable[[ServiceUnit], Context],
        submit: Callable[[JobSubmit, Context], Iterable[Message]],
        projects: Mapping[str, str],
    ) -> None:
        self._source, self._store, self._bucket = source, store, bucket
        self._unit, self._context, self._submit = unit, context, submit
        self._projects = projects
        self._memory: Memory[TFJobRecord] = {}
        self._submitted = 0

    def run(self) -> None:
        """Make one pass over all TFJobs."""
        found = self._source.found()
        with self._unit() as unit:
            ctx = self._context(unit)
            known = unit.records.find(TFJOBS, memory=self._memory)
            unit.records.read_ahead(JOBS, keys=[record.job_id for record in known])
            jobs = {record.uid: unit.records.get(JOBS, record.job_id) for record in known}
        tfjobs = {each.uid: each for several in found.values() for each in several}
        missing = {record.uid: record for record in known if record.uid not in tfjobs}
        taken = {record.uid: record for record in known}
        self._submitted = failed = 0
        for uid, tfjob in tfjobs.items():
            try:
                self._one(tfjob, taken.get(uid), jobs.get(uid), ctx)
                failed = 0
            except (ClusterError, StorageError) as error:
                failed += isinstance(error, ClusterUnavailable | StorageUnavailable)
                log.warning("tfjob_postponed", tfjob=tfjob.name, error=str(error))
            except Exception:
                # The last resort: what nobody foresaw in one object must not stop the others.
                log.exception("tfjob_not_understood", tfjob=tfjob.name)
            if failed >= _MAX_FAILED:
                break  # nobody answers, and each would wait in vain
        for record in missing.values():
            # Nothing is known of a namespace that was not listed, or is not watched any more.
            if record.namespace in found:
                self._gone(record)

    def _one(
        self, tfjob: TFJob, record: TFJobRecord | None, job: JobRecord | None, ctx: Context
    ) -> None:
        if tfjob.going:
            if record is not None:
                self._gone(record)
        elif tfjob.finished and (record is None or job is None or job.state.terminal):
            # If the job still runs, somebody else has written that end.
            if record is not None:
                self._forget(record)
            if tfjob.expired(ctx.now):
                self._source.delete(tfjob)
        elif record is not None:
            self._known(tfjob, record, job, ctx)
        elif not tfjob.another_controllers:
            self._first(tfjob, ctx)

    def _first(self, tfjob: TFJob, ctx: Context) -> None:
        """A TFJob that was not taken so far."""
        if tfjob.suspended:
            self._write(tfjob, statuses.suspended(tfjob, ctx.now))
        elif tfjob.begun_elsewhere:
            at = tfjob.item["metadata"].get("creationTimestamp") or moment(ctx.now)
            self._tell(tfjob, "Ignored", _ELSEWHERE, at)
        elif self._submitted < _MAX_SUBMITTED:
            self._submitted += 1
            self._begin(tfjob, 1, ctx)

    def _known(
        self, tfjob: TFJob, record: TFJobRecord, job: JobRecord | None, ctx: Context
    ) -> None:
        over = job is None or job.state.terminal
        if record.stage == "suspending" and over:
            # One that had ended before it could be stopped has ended.
            cancelled = job is None or job.state is JobState.CANCELLED
            self._keep(record, stage="suspended" if cancelled else "active")
        elif record.stage == "suspended" and tfjob.suspended:
            self._write(tfjob, statuses.suspended(tfjob, ctx.now))
        elif record.stage == "suspended":
            if job is None or job.cleaned:
                self._resume(tfjob, record, ctx)
        elif job is None:
            self._write(tfjob, statuses.lost(tfjob, ctx.now))
            self._forget(record)
        else:
            if tfjob.suspended and not over and record.stage == "active":
                self._cancel(record.job_id, _SUSPENDED, record, stage="suspending")
            self._report(tfjob, record, job, ctx)

    def _report(self, tfjob: TFJob, record: TFJobRecord, job: JobRecord, ctx: Context) -> None:
        """Write how the job stands; the record has served when its end is written."""
        self._write(tfjob, statuses.running(tfjob, record, job, ctx.now))
        if job.pending is not None and not job.state.terminal:
            self._tell(tfjob, "Pending", job.pending.reason, moment(job.pending.at))
        if job.state.terminal:
            self._forget(record)

    def _begin(self, tfjob: TFJob, run: int, ctx: Context) -> None:
        """Make a job of it, in one transaction with the record that it was taken."""
        try:
            project = self._projects.get(tfjob.namespace, DEFAULT_PROJECT)
            found = convert(tfjob, run, self._store, self._bucket, project)
            record = TFJobRecord(
                uid=tfjob.uid,
                namespace=tfjob.namespace,
                name=tfjob.name,
                job_id=found.submit.job_id,
                run=run,
                notes=found.notes,
            )
            with self._unit() as unit:
                messages = list(self._submit(found.submit, self._context(unit)))
                unit.records.put(TFJOBS, record)
                job = unit.records.get(JOBS, record.job_id)
                unit.emit(*messages)
        except (Refused, Declined) as error:
            self._refuse(tfjob, error, ctx)
            return
        if job is not None:
            self._report(tfjob, record, job, ctx)

    def _refuse(self, tfjob: TFJob, error: Refused | Declined, ctx: Context) -> None:
        faults = (
            error.faults
            if isinstance(error, Refused)
            else [f"{each.field}: {each.problem}".removeprefix(": ") for each in error.faults]
        )
        self._write(tfjob, statuses.refused(tfjob, faults, ctx.now))
        with self._unit() as unit:
            unit.records.delete(TFJOBS, tfjob.uid)

    def _resume(self, tfjob: TFJob, record: TFJobRecord, ctx: Context) -> None:
        """Another job of the same TFJob, which continues from the checkpoints of the one before."""
        following = checkpoint_key(job_id(tfjob, record.run + 1))
        try:
            self._store.copy(self._bucket, checkpoint_key(record.job_id), following)
        except NoObject:
            pass  # it was suspended before it had any
        self._begin(tfjob, record.run + 1, ctx)

    def _gone(self, record: TFJobRecord) -> None:
        """Cancel what is left of a TFJob that is not there any more."""
        with self._unit() as unit:
            job = unit.records.get(JOBS, record.job_id)
            if job is None or job.state.terminal:
                unit.records.delete(TFJOBS, record.uid)
                return
        self._cancel(record.job_id, _DELETED, record, stage=record.stage)

    def _cancel(self, job: str, reason: str, record: TFJobRecord, *, stage: str) -> None:
        with self._unit() as unit:
            ctx = self._context(unit)
            messages = list(handlers.job_cancel(JobCancel(job_id=job, reason=reason), ctx))
            unit.records.put(TFJOBS, with_changes(record, stage=stage))
            unit.emit(*messages)

    def _keep(self, record: TFJobRecord, *, stage: str) -> None:
        with self._unit() as unit:
            unit.records.put(TFJOBS, with_changes(record, stage=stage))

    def _forget(self, record: TFJobRecord) -> None:
        with self._unit() as unit:
            unit.records.delete(TFJOBS, record.uid)

    def _write(self, tfjob: TFJob, status: Status) -> None:
        """Write a changed status, and an event for each condition that became true."""
        if status == tfjob.status:
            return
        try:
            self._source.write_status(tfjob, status)
        except NotFound:
            return  # it was deleted meanwhile
        for condition in changed(tfjob.conditions, status["conditions"]):
            self._source.tell(tfjob, condition)

    def _tell(self, tfjob: TFJob, kind: str, text: str, at: str) -> None:
        reason = f"TFJob{kind}"
        said = {"type": kind, "reason": reason, "message": text, "lastTransitionTime": at}
        self._source.tell(tfjob, said)
