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
from services.task.removal import Removal
from services.task.runtime import Observed, Pending, Runtime, RuntimeUnavailable
from services.task.settings import TaskSettings
from services.task.spec import member_key
from shared.changes import with_changes
from shared.contracts import JobState, Member, Message, PendingCause
from shared.observe import JOBS as JOBS_GAUGE
from shared.service import Context, ServiceUnit
from shared.storage import ObjectStore, StorageError
from shared.store.records import Memory

log = structlog.get_logger(__name__)

_MAX_STARTS = 50
_MAX_LIVE = 1_000_000
_RESTLESS_S, _ALL_S = 0.45, 5.0
_PASSING = {PendingCause.NODE, PendingCause.GANG, PendingCause.QUEUE}
_PASSING_S = 1.5
_LOST = Exit(exit_code=-9, fault="its container vanished without a word", infrastructure=True)


class Reconciler:
    """Admission, members, time-outs, ends and removal.

    A pass looks at the jobs whose record or pods have changed, twice a second at those that are
    not settled, and every few seconds at all of them: what it costs follows from what happens, not
    from how many jobs there are.

    Args:
        settings: capacities and graces.
        runtime: where members run.
        store: where packages, logs and models lie; only removal touches it.
        unit: one transaction of the service.
        context: a handler's context over the records of such a transaction.
        clock: seconds that only grow.
        may_act: raises when another replica may be at work by now; asked before each job.
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
        self._runtime = runtime
        self._store = store
        self._unit = unit
        self._context = context
        self._removal = Removal(settings, runtime, store, unit, context, may_act)
        self._total = capacity(settings)
        self._gone_since: dict[str, float] = {}
        self._waits_since: dict[str, tuple[PendingCause, float]] = {}
        self._bucket_there = False
        self._memory: Memory[JobRecord] = {}
        self._looked_at: dict[str, JobRecord] = {}
        """Jobs that are as they were when they were looked at last, unless the runtime says no."""
        self._restless: set[str] = set()
        """Jobs of which the clock, or an attempt that failed, may ask for more."""
        self._all_at = self._restless_at = 0.0
        self._decided: list[tuple[str, Decide]] = []
        self._cleaned: list[str] = []

    def run(self) -> None:
        """One pass."""
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
        # Should this pass be broken off: what was reported to have changed was not looked at.
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
        """At each of these jobs, and at what nobody remembers."""
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
            self._looked_at[job_id] = record
            (self._restless.discard if settled else self._restless.add)(job_id)
        self._restless &= live
        for job_id in self._waits_since.keys() - live:
            del self._waits_since[job_id]
        for job_id in self._looked_at.keys() - live:
            del self._looked_at[job_id]
        self._apply()
        self._removal.strays((observed.keys() | strays) - live, observed)

    def _live(self) -> tuple[list[JobRecord], Context]:
        """Jobs that are not done with, those just admitted among them."""
        with self._unit() as unit:
            ctx = self._context(unit)
            live = unit.records.find(
                JOBS,
                group="live",
                status=[*ACTIVE_STATES, *_ENDED],
                limit=_MAX_LIVE,
                memory=self._memory,
            )
            waiting = unit.records.find(JOBS, status=JobState.ACCEPTED, limit=_MAX_STARTS)
            if waiting:
                active = [record for record in live if record.state in ACTIVE_STATES]
                live += self._admit(unit, ctx, admit(waiting, active, self._total))
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
                # Published once; the free capacity changes all the time and is nobody's news.
                record, waits = states.wait(waiting, reason, ctx.now)
                messages.append(waits)
            else:
                continue
            unit.records.put(JOBS, record)
        unit.emit(*messages)
        return admitted

    def _job(self, record: JobRecord, observed: list[Observed], ctx: Context) -> bool:
        """Act on one job; whether nothing but a change asks for more."""
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
                self._cleaned.append(record.job_id)
            return False
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
        quiet = record.verdict is None and record.suspect is None
        return quiet and record.state is JobState.RUNNING and alive == wanted.keys()

    def _explain(self, record: JobRecord, living: list[Member], ctx: Context) -> None:
        """Tell what keeps a job from running, and have an overdue cluster wait again."""
        if record.state is JobState.RUNNING or record.verdict is not None:
            self._waits_since.pop(record.job_id, None)
            return
        found = self._runtime.pending(record.job_id)
        if found is not None and found.overdue:
            self._decide(record, decisions.requeue)
            self._apply()
            self._runtime.end(record.job_id, living, self._settings.stop_grace_s)
        if self._lasts(record.job_id, found) and decisions.is_news(record.pending, found, ctx.now):
            self._decide(record, lambda r, ctx: decisions.note_pending(r, found, ctx))

    def _lasts(self, job_id: str, found: Pending | None) -> bool:
        """Whether a reason is worth telling: some belong to every start, and pass at once."""
        if found is None or found.overdue or found.cause not in _PASSING:
            self._waits_since.pop(job_id, None)
            return True
        cause, since = self._waits_since.get(job_id, (None, 0.0))
        if cause is not found.cause:
            since = self._clock()
            self._waits_since[job_id] = found.cause, since
        return self._clock() - since >= _PASSING_S

    def _maybe_lost(
        self, key: str, record: JobRecord, member: MemberRecord, dead: Observed | None
    ) -> None:
        """A dead member's last message may still be on its way; then its surroundings tell."""
        if dead is not None and (end := dead.end) is not None:
            self._decide(record, lambda _record, ctx: handlers.pod_exited(end, ctx))
            return
        fate = _LOST if dead is None or dead.fate is None else dead.fate
        since = self._gone_since.setdefault(key, self._clock())
        if self._clock() - since >= self._settings.lost_grace_s:
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

    def _decide(self, record: JobRecord, decide: Decide) -> None:
        """Have ``decide`` applied to the job when all have been looked at."""
        self._decided.append((record.job_id, decide))

    def _apply(self) -> None:
        """Decisions on the newest records: handlers may have changed them meanwhile."""
        decided, self._decided = self._decided, []
        cleaned, self._cleaned = self._cleaned, []
        if not decided and not cleaned:
            return
        with self._unit() as unit:
            ctx, messages = self._context(unit), list[Message]()
            for job_id, decide in decided:
                newest = unit.records.get(JOBS, job_id)
                if newest is not None and newest.state in ACTIVE_STATES:
                    messages += decide(newest, ctx)
            for job_id in cleaned:
                newest = unit.records.get(JOBS, job_id)
                if newest is not None:
                    unit.records.put(JOBS, with_changes(newest, cleaned=True))
            unit.emit(*messages)


Decide = Callable[[JobRecord, Context], Iterable[Message]]
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
