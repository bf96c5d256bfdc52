"""Makes the runtime look as the records want it to, over and over.

Each pass starts from nothing but records and what the runtime shows, so it may be interrupted
anywhere: what was not done is done by the next pass, what was done is found done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta

import structlog

from services.task import decisions, handlers, states
from services.task.admission import admit, capacity
from services.task.records import ACTIVE_STATES, JOBS, Exit, JobRecord, MemberRecord
from services.task.runtimes import Observed, Runtime, RuntimeUnavailable
from services.task.settings import TaskSettings
from services.task.spec import member_key
from shared.contracts import JobState, Member, Message
from shared.observe import JOBS as JOBS_GAUGE
from shared.service import Context
from shared.service.service import ServiceUnit
from shared.storage import ObjectStore, StorageError

log = structlog.get_logger(__name__)

_MOST_STARTS = 50
_MOST_LIVE = 1_000_000
_LOST = Exit(exit_code=-9, fault="its container vanished without a word", infrastructure=True)


class Reconciler:
    """Admission, members, time-outs, ends and removal.

    Args:
        settings: capacities and graces.
        runtime: where members run.
        store: where packages, logs and models lie; only removal touches it.
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
    """

    def __init__(
        self,
        settings: TaskSettings,
        runtime: Runtime,
        store: ObjectStore,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        context: Callable[[ServiceUnit], Context],
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._store = store
        self._unit = unit
        self._context = context
        self._gone_since: dict[str, float] = {}
        self._bucket_there = False

    def run(self) -> None:
        """One pass."""
        self._ensure_bucket()
        self._admit()
        with self._unit() as unit:
            ctx = self._context(unit)
            wanted = [*ACTIVE_STATES, *_ENDED]
            live = unit.records.find(JOBS, group="live", status=wanted, limit=_MOST_LIVE)
            for state, number in unit.records.count(JOBS).items():
                JOBS_GAUGE.labels(state).set(number)
        observed: dict[str, list[Observed]] = {}
        try:
            for each in self._runtime.observe():
                observed.setdefault(each.job_id, []).append(each)
        except RuntimeUnavailable as error:
            log.warning("runtime_postponed", error=str(error))
            return
        for record in live:
            try:
                self._job(record, observed.get(record.job_id, []), ctx)
            except RuntimeUnavailable as error:
                log.warning("runtime_postponed", job=record.job_id, error=str(error))
        self._remove_strays(observed, {record.job_id for record in live})
        self._expire()

    def _ensure_bucket(self) -> None:
        if not self._bucket_there:
            try:
                self._store.ensure_bucket(self._settings.s3_bucket)
                self._bucket_there = True
            except StorageError as error:
                log.warning("bucket_postponed", error=str(error))

    def _admit(self) -> None:
        total = capacity(self._settings)
        with self._unit() as unit:
            waiting = unit.records.find(JOBS, status=JobState.ACCEPTED, limit=_MOST_STARTS)
            if not waiting:
                return
            active = unit.records.find(JOBS, status=list(ACTIVE_STATES), limit=_MOST_LIVE)
            ctx = self._context(unit)
            for record, reason in admit(waiting, active, total):
                self._admit_one(unit, ctx, record, reason)

    def _admit_one(self, unit: ServiceUnit, ctx: Context, record: JobRecord, reason: str) -> None:
        if not reason:
            record, started = states.start(record, ctx.now)
            unit.records.put(JOBS, record)
            unit.emit(started, *decisions.rendezvous(record, ctx))
        elif not record.waiting:
            # Told once; the free capacity changes all the time and is nobody's news.
            record, waits = states.wait(record, reason, ctx.now)
            unit.records.put(JOBS, record)
            unit.emit(waits)

    def _job(self, record: JobRecord, observed: list[Observed], ctx: Context) -> None:
        alive = {o.key for o in observed if o.alive}
        seen = {o.key for o in observed}
        wanted = {member_key(record.job_id, m.member): m for m in record.members.values()}
        stop_all = record.state.terminal or record.verdict is not None
        living = [o.member for o in observed if o.alive]
        if stop_all:
            self._runtime.end(record.job_id, living, self._settings.stop_grace_s)
        else:
            for each in living:
                if member_key(record.job_id, each) not in wanted:
                    self._runtime.stop(record.job_id, each, self._settings.stop_grace_s)
        if record.state.terminal:
            if not alive:
                self._clean(record)
            return
        dead = {o.key: o for o in observed if not o.alive}
        missing = []
        for key, member in wanted.items():
            if member.phase == "exited" or key in alive:
                self._gone_since.pop(key, None)
            elif key in seen or stop_all or member.phase == "running":
                self._maybe_lost(key, record, member, dead.get(key))
            else:
                missing.append(member.member)
        self._runtime.start(record.submit, missing)
        self._explain(record, living, ctx)
        self._judge(record, ctx)

    def _explain(self, record: JobRecord, living: list[Member], ctx: Context) -> None:
        """Tell what keeps a job from running, and have an overdue cluster wait again."""
        if record.state is JobState.RUNNING or record.verdict is not None:
            return
        found = self._runtime.pending(record.job_id)
        if found is None and record.pending is None:
            return
        if found is not None and found.overdue:
            self._decide(record, decisions.requeue)
            self._runtime.end(record.job_id, living, self._settings.stop_grace_s)
        if decisions.is_news(record.pending, found, ctx.now):
            self._decide(record, lambda r, ctx: decisions.note_pending(r, found, ctx))

    def _maybe_lost(
        self, key: str, record: JobRecord, member: MemberRecord, dead: Observed | None
    ) -> None:
        """A dead member's last message may still be on its way; then its surroundings tell."""
        if dead is not None and (end := dead.end) is not None:
            self._decide(record, lambda _record, ctx: handlers.pod_exited(end, ctx))
            return
        fate = _LOST if dead is None or dead.fate is None else dead.fate
        since = self._gone_since.setdefault(key, time.monotonic())
        if time.monotonic() - since >= self._settings.lost_grace_s:
            self._gone_since.pop(key, None)
            self._decide(record, lambda r, ctx: _lost(r, member, fate, ctx))

    def _judge(self, record: JobRecord, ctx: Context) -> None:
        """Time-outs, and failures that turned out to be nobody else's."""
        settle = timedelta(seconds=self._settings.settle_s)

        def due(r: JobRecord, ctx: Context) -> Iterable[Message]:
            if r.verdict is not None:
                return ()
            verdict = decisions.timed_out(r, ctx)
            if verdict is not None:
                return decisions.conclude(r, verdict, ctx)
            if r.suspect is not None and ctx.now - r.suspect.at >= settle:
                return decisions.retry_or_fail(r, r.suspect, ctx)
            return ()

        # Most of the time nothing is due; then no transaction is worth it.
        if record.suspect is not None or decisions.timed_out(record, ctx) is not None:
            self._decide(record, due)

    def _decide(
        self, record: JobRecord, decide: Callable[[JobRecord, Context], Iterable[Message]]
    ) -> None:
        """Apply ``decide`` to the newest record: handlers may have changed it meanwhile."""
        with self._unit() as unit:
            newest = unit.records.get(JOBS, record.job_id)
            if newest is not None and newest.state in ACTIVE_STATES:
                unit.emit(*decide(newest, self._context(unit)))

    def _clean(self, record: JobRecord) -> None:
        if not self._runtime.remove(record.job_id):
            return
        with self._unit() as unit:
            newest = unit.records.get(JOBS, record.job_id)
            if newest is not None:
                unit.records.put(JOBS, newest.model_copy(update={"cleaned": True}))

    def _remove_strays(self, observed: dict[str, list[Observed]], live: set[str]) -> None:
        """Members of jobs nobody remembers (their record was removed) must not live on.

        What was live when this pass began is remembered, or was cleaned up by it.
        """
        known = (observed.keys() | self._runtime.known()) - live
        if not known:
            return
        with self._unit() as unit:
            strays = [
                job_id
                for job_id in known
                if (r := unit.records.get(JOBS, job_id)) is None or r.cleaned
            ]
        for job_id in strays:
            living = [o.member for o in observed.get(job_id, ()) if o.alive]
            self._runtime.end(job_id, living, self._settings.stop_grace_s)
            if not living:
                self._runtime.remove(job_id)

    def _expire(self) -> None:
        """Forget ended jobs that were removed or whose time is over, and what is stored."""
        with self._unit() as unit:
            now = self._context(unit).now
            due = unit.records.find(JOBS, status=_ENDED, due_before=now, limit=_MOST_STARTS)
            asked = unit.records.find(JOBS, group=_REMOVING, limit=_MOST_STARTS)
        for record in {r.job_id: r for r in [*asked, *due]}.values():
            if not record.cleaned:
                continue
            prefix, bucket = f"jobs/{record.job_id}/", self._settings.s3_bucket
            keys = [info.key for info in self._store.list(bucket, prefix)]
            if keys:
                self._store.delete(bucket, keys)
            reason = "removed on request" if record.removing else "kept long enough"
            with self._unit() as unit:
                now = self._context(unit).now
                unit.emit(states.removed(record, reason, now))
                unit.records.delete(JOBS, record.job_id)


_ENDED = [state for state in JobState if state.terminal]
_REMOVING = "removing"


def _lost(record: JobRecord, member: MemberRecord, fate: Exit, ctx: Context) -> Iterable[Message]:
    newest = record.members.get(member.name)
    if newest is None or newest.incarnation != member.incarnation or newest.phase == "exited":
        return ()
    if newest.told is not None:
        # What it said itself, but for its program's end, which it did not see.
        seen = newest.told if fate is _LOST else fate
        fate = seen.model_copy(update={"last_lines": newest.told.last_lines})
    return decisions.member_ended(record, newest, fate, ctx)
