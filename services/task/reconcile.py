"""Brings the runtime in line with the records, repeatedly.

Each pass starts from the records and the runtime's state alone, so it may be interrupted anywhere:
the next pass does what was left, and finds done what was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta

import structlog

from services.task import decisions, handlers, states
from services.task.admission import admit, capacity
from services.task.applying import Decisions
from services.task.clock_watch import ClockWatch
from services.task.records import ACTIVE_STATES, JOBS, Exit, JobRecord, MemberRecord
from services.task.removal import Removal
from services.task.runtime import Observed, Runtime, RuntimeUnavailable
from services.task.settings import TaskSettings
from services.task.spec import member_key
from services.task.waiting import WaitingReasons
from shared.changes import with_changes
from shared.contracts import JobState, Member, Message
from shared.observe import JOBS as JOBS_GAUGE
from shared.service import Context, ServiceUnit
from shared.storage import ObjectStore, StorageError
from shared.store.records import Memory
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_MAX_STARTS = 50
_MAX_LIVE = 1_000_000
_RESTLESS_S, _ALL_S = 0.45, 5.0
_LOST = Exit(exit_code=-9, fault="its container vanished without a word", infrastructure=True)


class Reconciler:
    """Admission, members, time-outs, ends and removal.

    A pass checks the jobs whose record or pods have changed, those that are not settled twice a
    second, and all of them every few seconds: its cost depends on what happens, not on the number
    of jobs.

    Args:
        settings: capacities and graces.
        runtime: runs members.
        store: holds packages, logs and models; only removal uses it.
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
        clock: monotonic seconds.
        may_act: raises if another replica may be leading by now; called before each job.
    """

    def __init__(
        self,
        settings: TaskSettings,
        runtime: Runtime,
        store: ObjectStore,
        unit: Callable[[], AbstractContextManager[ServiceUnit]],
        context: Callable[[ServiceUnit], Context],
        clock: Callable[[], float] = time.monotonic,
        may_act: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._may_act = may_act
        self._clock = clock
        self._clock_watch = ClockWatch(clock)
        self._runtime = runtime
        self._store = store
        self._unit = unit
        self._context = context
        self._removal = Removal(settings, runtime, store, unit, context, may_act)
        self._total = capacity(settings)
        self._gone_since: dict[str, dict[str, float]] = {}
        """Since when members are missing, by job and incarnation."""
        self._waiting = WaitingReasons(clock)
        self._bucket_there = False
        self._memory: Memory[JobRecord] = {}
        self._looked_at: dict[str, JobRecord] = {}
        """Jobs as last checked; unchanged ones are skipped unless the runtime reports them."""
        self._restless: set[str] = set()
        """Jobs that need another check because of the clock or a failed attempt."""
        self._all_at = self._restless_at = 0.0
        self._decisions = Decisions(unit, context)

    def run(self) -> None:
        """Make one pass over all jobs."""
        self._ensure_bucket()
        live, ctx = self._live()
        changed = self._runtime.changed()
        now = self._clock()
        everything = changed is None or now >= self._all_at
        now_and_then = everything or now >= self._restless_at
        due = {
            record.job_id: record
            for record in live
            if everything
            or self._looked_at.get(record.job_id) is not record
            or record.job_id in (changed or ())
            or (now_and_then and record.job_id in self._restless)
        }
        # If this pass is interrupted, the reported changes were not checked.
        after, self._all_at = self._all_at, 0.0
        try:
            self._look(due, everything, {record.job_id for record in live}, ctx)
        except RuntimeUnavailable as error:
            log.warning("runtime_postponed", error=str(error))
            return
        self._all_at = now + _ALL_S if everything else after
        if everything:
            self._count()
        if now_and_then:
            self._restless_at = now + _RESTLESS_S
            self._removal.expire()

    def _look(
        self, due: dict[str, JobRecord], everything: bool, live: set[str], ctx: Context
    ) -> None:
        """Check each of these jobs, and members of unknown jobs."""
        strays = self._runtime.known() - live
        observed: dict[str, list[Observed]] = {}
        for each in self._runtime.observe(None if everything else due.keys() | strays):
            observed.setdefault(each.job_id, []).append(each)
        for job_id, record in due.items():
            self._may_act()
            try:
                settled = self._job(record, observed.get(job_id, []), ctx)
            except RuntimeUnavailable as error:
                log.warning("runtime_postponed", job=job_id, error=str(error))
                settled = False
            except Unavailable:
                raise
            except Exception:
                # An unexpected error about one job must not affect the others.
                log.exception("job_not_reconciled", job=job_id)
                settled = False
            self._looked_at[job_id] = record
            (self._restless.discard if settled else self._restless.add)(job_id)
        self._restless &= live
        self._waiting.keep_only(live)
        for remembered in (self._looked_at, self._gone_since):
            for job_id in remembered.keys() - live:
                del remembered[job_id]
        self._decisions.apply()
        self._removal.strays((observed.keys() | strays) - live, observed)

    def _live(self) -> tuple[list[JobRecord], Context]:
        """Jobs with work left, including those just admitted."""
        with self._unit() as unit:
            ctx = self._context(unit)
            live = unit.records.find(
                JOBS,
                group="live",
                status=[*ACTIVE_STATES, *_ENDED],
                limit=_MAX_LIVE,
                memory=self._memory,
            )
            if step := self._clock_watch.step(ctx.now):
                live = [states.moved(record, step) for record in live]
                unit.records.put_all(JOBS, live)
            waiting = unit.records.find(JOBS, status=JobState.ACCEPTED, limit=_MAX_STARTS)
            if waiting:
                active = [record for record in live if record.state in ACTIVE_STATES]
                live += self._admit(unit, ctx, admit(waiting, active, self._total))
        self._clock_watch.settle()
        return live, ctx

    def _count(self) -> None:
        with self._unit() as unit:
            for state, number in unit.records.count(JOBS).items():
                JOBS_GAUGE.labels(state).set(number)

    def _ensure_bucket(self) -> None:
        if not self._bucket_there:
            try:
                self._store.ensure_bucket(self._settings.s3_bucket)
                self._bucket_there = True
            except StorageError as error:
                log.warning("bucket_postponed", error=str(error))

    def _admit(
        self, unit: ServiceUnit, ctx: Context, decided: Iterable[tuple[JobRecord, str]]
    ) -> list[JobRecord]:
        """Start those that need not wait; their records."""
        messages, admitted = list[Message](), list[JobRecord]()
        for waiting, reason in decided:
            if not reason:
                record, event = states.start(waiting, ctx.now)
                messages += [event, *decisions.rendezvous(record, ctx)]
                admitted.append(record)
            elif not waiting.waiting:
                # Published once; the free capacity changes constantly and is not worth an event.
                record, waits = states.wait(waiting, reason, ctx.now)
                messages.append(waits)
            else:
                continue
            unit.records.put(JOBS, record)
        unit.emit(*messages)
        return admitted

    def _job(self, record: JobRecord, observed: list[Observed], ctx: Context) -> bool:
        """Act on one job; returns whether it needs no further check until it changes."""
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
            if not alive and self._runtime.remove(record.job_id):
                self._decisions.cleaned(record.job_id)
            return False
        dead = {o.key: o for o in observed if not o.alive}
        missing = []
        absent = {k: m for k, m in wanted.items() if m.phase != "exited" and k not in alive}
        gone = self._gone_since.get(record.job_id, {})
        self._gone_since[record.job_id] = {k: since for k, since in gone.items() if k in absent}
        for key, member in absent.items():
            if key in seen or stop_all or member.phase == "running":
                self._maybe_lost(key, record, member, dead.get(key))
            else:
                missing.append(member.member)
        self._runtime.start(record.submit, missing)
        self._explain(record, living, ctx)
        self._judge(record, ctx)
        quiet = record.verdict is None and record.suspect is None
        return quiet and record.state is JobState.RUNNING and alive == wanted.keys()

    def _explain(self, record: JobRecord, living: list[Member], ctx: Context) -> None:
        """Publish what keeps a job from running, and have an overdue cluster wait again."""
        if record.state is JobState.RUNNING or record.verdict is not None:
            self._waiting.forget(record.job_id)
            return
        found = self._runtime.pending(record.job_id)
        if found is not None and found.overdue:
            self._decisions.add(record.job_id, decisions.requeue)
            self._decisions.apply()
            self._runtime.end(record.job_id, living, self._settings.stop_grace_s)
        if self._waiting.lasts(record.job_id, found) and decisions.is_news(
            record.pending, found, ctx.now
        ):
            self._decisions.add(record.job_id, lambda r, ctx: decisions.note_pending(r, found, ctx))

    def _maybe_lost(
        self, key: str, record: JobRecord, member: MemberRecord, dead: Observed | None
    ) -> None:
        """A dead member's last message may still arrive; otherwise its surroundings decide."""
        if dead is not None and (end := dead.end) is not None:
            self._decisions.add(record.job_id, lambda _record, ctx: handlers.pod_exited(end, ctx))
            return
        fate = _LOST if dead is None or dead.fate is None else dead.fate
        gone = self._gone_since.setdefault(record.job_id, {})
        since = gone.setdefault(key, self._clock())
        if self._clock() - since >= self._settings.lost_grace_s:
            del gone[key]
            self._decisions.add(record.job_id, lambda r, ctx: _lost(r, member, fate, ctx))

    def _judge(self, record: JobRecord, ctx: Context) -> None:
        """Handle time-outs, and failures that no other member caused."""
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
            self._decisions.add(record.job_id, due)


_ENDED = [state for state in JobState if state.terminal]


def _lost(record: JobRecord, member: MemberRecord, fate: Exit, ctx: Context) -> Iterable[Message]:
    newest = record.members.get(member.name)
    if newest is None or newest.incarnation != member.incarnation or newest.phase == "exited":
        return ()
    if newest.reported is not None:
        # The launcher's own messages, without the exit of a program that ended while it was away.
        seen = newest.reported if fate is _LOST else fate
        fate = with_changes(seen, last_lines=newest.reported.last_lines)
    return decisions.member_ended(record, newest, fate, ctx)
