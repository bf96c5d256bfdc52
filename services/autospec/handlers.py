"""One function per message; whatever the order and number of deliveries, the newest wins.

Every handler moves the record monotonically: incarnations and the epoch only grow, ``closed``
ends only through a later ``rendezvous.open``. So duplicates and reordering cannot make a spec
that holds a replaced member.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from services.autospec.records import RENDEZVOUS, Rendezvous, Reported
from shared.changes import with_changes
from shared.contracts import (
    ClusterSpecReady,
    Member,
    Message,
    PodFenced,
    PodReported,
    RendezvousClose,
    RendezvousOpen,
    RendezvousTimedOut,
)
from shared.service import Context

AWAITED_S = 3600
"""Reports for a job nobody opened are forgotten after this many seconds; so is a cluster that did
not form in time and of which nothing was heard since, as if its close had overtaken its open."""


def rendezvous_open(message: RendezvousOpen, ctx: Context) -> Iterable[Message]:
    """Expect these members; those that reported already count."""
    known = ctx.records.get(RENDEZVOUS, message.job_id)
    if known is None:
        known = Rendezvous(job_id=message.job_id, status="awaited")
    if known.deadline is not None and message.deadline <= known.deadline:
        return  # an older or repeated open
    if known.status == "closed":
        # The same job id, submitted again after its removal: nothing of the old cluster counts.
        known = with_changes(known, reported={}, least={}, least_epoch=0, addresses={})
    names = {*known.least, *message.incarnations}
    least = {n: max(known.least.get(n, 1), message.incarnations.get(n, 1)) for n in names}
    before = known
    known = with_changes(
        known,
        status="open",
        roles=message.roles,
        least=least,
        least_epoch=max(known.least_epoch, message.least_epoch),
        deadline=message.deadline,
        due=message.deadline,
        timed_out=False,
    )
    kept = {n: r for n, r in known.reported.items() if not _unwanted(known, r.member)}
    for name, reported in known.reported.items():
        if name not in kept:
            yield _fenced(known, reported.member, _unwanted(known, reported.member))
    known = with_changes(known, reported=kept)
    settled = not known.missing() and known.epoch >= known.least_epoch
    if before.status == "open" and before.roles == known.roles and settled:
        # Nothing changed, or the replacements reported before this message arrived.
        ctx.records.put(RENDEZVOUS, with_changes(known, due=None))
    else:
        yield from _settle(known, ctx)


def pod_reported(message: PodReported, ctx: Context) -> Iterable[Message]:
    """Note where a member listens; answer with the spec, or with its dismissal."""
    known = ctx.records.get(RENDEZVOUS, message.job_id)
    if known is None:
        known = Rendezvous(
            job_id=message.job_id, status="awaited", due=ctx.now + timedelta(seconds=AWAITED_S)
        )
    if known.status == "closed":
        yield _fenced(known, message.member, "the job has ended")
        return
    unwanted = _unwanted(known, message.member)
    if known.status == "open" and unwanted:
        yield _fenced(known, message.member, unwanted)
        return
    before = known.reported.get(message.member.name)
    if before is not None and message.member.incarnation <= before.member.incarnation:
        if message.member.incarnation < before.member.incarnation:
            yield _fenced(known, message.member, "it has been replaced")
        elif known.status == "open" and not known.missing():
            yield _spec(known, ctx)  # it asks because it has not seen the spec
        return
    if before is not None:
        yield _fenced(known, before.member, "it has been replaced")
    reported = Reported(member=message.member, host=message.host, port=message.port)
    known = with_changes(known, reported=known.reported | {message.member.name: reported})
    if known.status == "open":
        yield from _settle(known, ctx)
    else:
        ctx.records.put(RENDEZVOUS, known)


def rendezvous_close(message: RendezvousClose, ctx: Context) -> Iterable[Message]:
    """The job has ended: dismiss everyone, and whoever still reports."""
    known = ctx.records.get(RENDEZVOUS, message.job_id)
    if known is None:
        known = Rendezvous(job_id=message.job_id, status="awaited")
    if known.status == "closed":
        return
    closed = with_changes(known, status="closed", due=ctx.now + timedelta(seconds=AWAITED_S))
    ctx.records.put(RENDEZVOUS, closed)
    for reported in known.reported.values():
        yield _fenced(known, reported.member, "the job has ended")


def expire(ctx: Context) -> Iterator[Message]:
    """The work of the clock: time-outs of open gatherings, and forgetting ended ones."""
    for known in ctx.records.find(RENDEZVOUS, due_before=ctx.now):
        if known.status != "open" or known.timed_out:
            ctx.records.delete(RENDEZVOUS, known.job_id)
        elif known.missing():
            due = ctx.now + timedelta(seconds=AWAITED_S)
            ctx.records.put(RENDEZVOUS, with_changes(known, due=due, timed_out=True))
            yield RendezvousTimedOut(
                job_id=known.job_id, missing=tuple(known.missing()), at=ctx.now
            )
        else:
            ctx.records.put(RENDEZVOUS, with_changes(known, due=None))


def _settle(known: Rendezvous, ctx: Context) -> Iterator[Message]:
    """Store the record; with all members there, it makes the next epoch.

    Programs learn addresses once, at their start. So where none has changed, the specification is
    still right for those who run by it, and the epoch stays unless all of them are to begin again.
    """
    complete = not known.missing()
    if complete:
        addresses = known.reported_addresses()
        stays = known.epoch >= max(1, known.least_epoch) and addresses == known.addresses
        epoch = known.epoch if stays else known.epoch + 1
        known = with_changes(known, epoch=epoch, addresses=addresses, due=None, timed_out=False)
    ctx.records.put(RENDEZVOUS, known)
    if complete:
        yield _spec(known, ctx)


def _unwanted(known: Rendezvous, member: Member) -> str:
    """Return why a member does not belong to the cluster, '' when it does."""
    if member.index >= known.roles.get(member.role, 0):
        return "the job has no such member"
    if member.incarnation < known.least.get(member.name, 1):
        return "it has been replaced"
    return ""


def _fenced(known: Rendezvous, member: Member, reason: str) -> PodFenced:
    return PodFenced(job_id=known.job_id, member=member, reason=reason)


def _spec(known: Rendezvous, ctx: Context) -> ClusterSpecReady:
    members = [
        known.reported[f"{role}-{index}"] for role, n in known.roles.items() for index in range(n)
    ]
    return ClusterSpecReady(
        job_id=known.job_id,
        epoch=known.epoch,
        cluster={
            role: tuple(m.address for m in members if m.member.role is role)
            for role, n in known.roles.items()
            if n
        },
        members=tuple(m.member for m in members),
        at=ctx.now,
    )
