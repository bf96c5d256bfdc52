"""Notifications about jobs: recipients, occasions, and the healer's channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from services.healer.jobs import targets
from services.healer.jobs.record import JOB_WATCHES, JobWatch
from services.healer.jobs.rules import JobRule
from services.healer.masking import masked, masked_text
from services.healer.model.notice import Summary
from services.healer.notify.channels.base import Channel
from services.healer.notify.compose import message_id
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.render.numbers import span
from shared.changes import with_changes
from shared.contracts import (
    JobAccepted,
    JobCancelled,
    JobFailed,
    JobNotifyRefused,
    JobPending,
    JobRunning,
    JobSucceeded,
    Message,
)
from shared.contracts.alerts import Severity
from shared.contracts.job_events import JobEvent
from shared.contracts.job_notices import JobNotify
from shared.contracts.message import deterministic_id
from shared.service import Context

_FORGOTTEN_AFTER = timedelta(days=1)
_NOTHING_DUE = timedelta(days=372)
_LINES = 20
_AT_ONCE = 500
"""The most jobs of one pass, because each may have kept the last lines of its log."""
log = structlog.get_logger(__name__)


class JobNotices:
    """Follows the jobs whose owners want notifications.

    A notice is made in the transaction of the event that it tells of, under an id of the job and
    the kind of notice. So a repeated event makes no second one.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        rules: Sequence[JobRule] = (),
        channels: Sequence[Channel] = (),
    ) -> None:
        self._dispatch = dispatch
        self._rules = rules
        self._channels = channels

    def accepted(self, message: JobAccepted, ctx: Context) -> Iterable[Message]:
        """A job was accepted; it says who wants to hear of it."""
        watch = self._watch(message, ctx)
        notify = message.submit.notify
        rules = tuple(rule for rule in self._rules if rule.is_about(message.submit))
        if notify is None and not rules:
            # Events from before its acceptance need not be kept either.
            ctx.records.delete(JOB_WATCHES, message.job_id)
            return ()
        update = {
            "notify": notify,
            "rules": rules,
            "submitted_by": message.submit.submitted_by,
            "project": message.submit.project,
            "accepted_at": message.at,
        }
        self._go_on(with_changes(watch, **update), ctx)
        return self._refusal(message, ctx)

    def _refusal(self, message: JobAccepted, ctx: Context) -> Iterable[Message]:
        """The answer to a job that names people in vain; nobody has checked it in the broker."""
        notify = message.submit.notify
        faults = targets.faults(notify.to, self._channels) if notify is not None else ()
        if not faults:
            return ()
        # Whoever may submit jobs must not be able to write to anybody.
        problems = [fault.problem for fault in faults]
        log.warning("job_notice_refused", job_id=message.job_id, problems=problems)
        return (JobNotifyRefused(job_id=message.job_id, faults=faults, at=ctx.now),)

    def pending(self, message: JobPending, ctx: Context) -> Iterable[Message]:
        """Note that the job waits for something."""
        words = f"{message.reason} {message.advice}".strip()
        return self._go_on(self._watch(message, ctx, waits_for=words), ctx)

    def running(self, message: JobRunning, ctx: Context) -> Iterable[Message]:
        """Note that the job runs, so that it waits no longer."""
        return self._go_on(self._watch(message, ctx, runs=True), ctx)

    def succeeded(self, message: JobSucceeded, ctx: Context) -> Iterable[Message]:
        """Note that the job has succeeded."""
        watch = self._watch(message, ctx, ended="succeeded", reason=message.reason)
        return self._go_on(watch, ctx)

    def failed(self, message: JobFailed, ctx: Context) -> Iterable[Message]:
        """Note that the job has failed."""
        who = f"{message.member}: " if message.member else ""
        reason = f"{who}{message.reason or message.failure_class}"
        lines = message.last_lines[-_LINES:]
        watch = self._watch(message, ctx, ended="failed", reason=reason, last_lines=lines)
        return self._go_on(watch, ctx)

    def cancelled(self, message: JobCancelled, ctx: Context) -> Iterable[Message]:
        """A person cancelled the job and knows of its end, so nobody is notified."""
        return self._go_on(self._watch(message, ctx, ended="cancelled"), ctx)

    def expire(self, ctx: Context) -> None:
        """Notify of jobs that have waited too long, and forget ended ones."""
        for watch in ctx.records.find(JOB_WATCHES, due_before=ctx.now, limit=_AT_ONCE):
            if watch.accepted_at is None or watch.ended or watch.runs or not _waiting(watch):
                ctx.records.delete(JOB_WATCHES, watch.job_id)
            else:
                self._go_on(watch, ctx)

    def _watch(self, message: JobEvent, ctx: Context, **update: object) -> JobWatch:
        known = ctx.records.get(JOB_WATCHES, message.job_id) or JobWatch(
            job_id=message.job_id, name=message.name, due=ctx.now + _FORGOTTEN_AFTER
        )
        return with_changes(known, **update)

    def _go_on(self, watch: JobWatch, ctx: Context) -> Iterable[Message]:
        """Notify of what is due by now, and keep what is known."""
        watch = self._notified(watch, ctx)
        ctx.records.put(JOB_WATCHES, with_changes(watch, due=self._due(watch, ctx)))
        return ()

    def _notified(self, watch: JobWatch, ctx: Context) -> JobWatch:
        kind = watch.ended or ("" if watch.runs else "pending")
        if watch.accepted_at is None or not kind:
            return watch
        waited_s = (ctx.now - watch.accepted_at).total_seconds()
        due = [wish for wish in _wishes(watch, kind) if watch.ended or waited_s >= wish.pending_s]
        wanted = _unheard(watch, kind, due)
        if not wanted:
            return watch
        before = sum(each.startswith(kind) for each in watch.notified)
        notice = _summary(watch, kind, before + 1, ctx)
        # A job may not name a target only because a rule names it for other kinds of notice.
        ruled = {target for wish in due if wish is not watch.notify for target in wish.to}
        self._dispatch.hand(notice, wanted, ctx, ruled)
        log.info("job_notified", job_id=watch.job_id, said=kind, message_id=notice.message_id)
        heard = (f"{kind} {target}" for target in wanted)
        return with_changes(watch, notified=(*watch.notified, *heard))

    @staticmethod
    def _due(watch: JobWatch, ctx: Context) -> datetime:
        if watch.ended or watch.accepted_at is None:
            return ctx.now + _FORGOTTEN_AFTER
        waiting = [] if watch.runs else _waiting(watch)
        if not waiting:
            return ctx.now + _NOTHING_DUE
        return watch.accepted_at + timedelta(seconds=min(wish.pending_s for wish in waiting))


def _wishes(watch: JobWatch, kind: str) -> list[JobNotify]:
    """The job's own wish and the rules that want to hear of this kind of notice."""
    wishes = (*([watch.notify] if watch.notify else []), *watch.rules)
    return [wish for wish in wishes if kind in wish.on]


def _unheard(watch: JobWatch, kind: str, wishes: Sequence[JobNotify]) -> list[str]:
    """The recipients of these requests who have not been notified yet."""
    named = dict.fromkeys(target for wish in wishes for target in wish.to)
    return [target for target in named if not {kind, f"{kind} {target}"} & {*watch.notified}]


def _waiting(watch: JobWatch) -> list[JobNotify]:
    """The wishes that a long wait of the job will still be notified to."""
    return [w for w in _wishes(watch, "pending") if _unheard(watch, "pending", [w])]


def _summary(watch: JobWatch, kind: str, number: int, ctx: Context) -> Summary:
    words = {"failed": "has failed", "succeeded": "has succeeded", "pending": "still waits"}[kind]
    reason = watch.waits_for if kind == "pending" else watch.reason
    sentences = [masked_text(reason)] if reason else []
    if watch.accepted_at is not None:
        by = f" by {watch.submitted_by}" if watch.submitted_by else ""
        for_s = span(ctx.now - watch.accepted_at)
        sentences.append(
            f"Job {watch.job_id}, submitted{by} at {watch.accepted_at:%F %T} UTC, {words} at "
            f"{ctx.now:%T} UTC, after {for_s}."
        )
    if watch.last_lines and kind == "failed":
        sentences.append("The last lines of its log:")
        # A mark before each, so that no line of a program passes for one of ours.
        sentences += [f"| {masked(line.split(' '))}" for line in watch.last_lines]
    return Summary(
        message_id=message_id(deterministic_id("job", watch.job_id, kind), number),
        kind="job",
        severity=Severity.WARNING if kind == "failed" else Severity.INFO,
        headline=f"{watch.name} {words}",
        sentences=tuple(sentences),
        path=f"jobs/{watch.job_id}",
        project=watch.project,
        at=ctx.now,
    )
