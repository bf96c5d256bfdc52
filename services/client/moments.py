"""A job's timeline; several events of one kind at the same time become one line."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from services.client.records import MOMENTS, Moment
from shared.changes import with_changes
from shared.contracts import (
    ClusterSpecReady,
    JobEvent,
    JobPending,
    Member,
    PodExited,
    PodReported,
    PodStarted,
)
from shared.quantity import counted
from shared.service import Context

MAX_MOMENTS = 500
"""The most moments that are kept of a job and, beside them, of its members: the newest."""
_AT_ONCE = 500
_SHELL_SIGNALS = 128
_TOGETHER_S = 60.0
_NAMED = 3


def of_job(event: JobEvent) -> Moment:
    """The moment of a job's own event."""
    kind = event.TYPE.removeprefix("job.")
    text = f"{event.reason}; {event.advice}" if isinstance(event, JobPending) else event.reason
    return Moment(
        job_id=event.job_id, id=f"job/{event.sequence}", at=event.at, kind=kind, text=text
    )


def reported(message: PodReported) -> Moment:
    """The moment at which a member is up."""
    where = f" ({message.node})" if message.node else ""
    return with_changes(
        _of(message.job_id, message.member, "reported", message.at),
        text=f"{message.host}:{message.port}{where}",
    )


def gathered(message: ClusterSpecReady, now: datetime) -> Moment:
    """The moment at which all members of an epoch are known."""
    return Moment(
        job_id=message.job_id,
        id=f"epoch/{message.epoch}",
        at=message.at or now,
        kind="gathered",
        text=f"ClusterSpec with {counted(len(message.members), 'member')}, epoch {message.epoch}",
    )


def started(message: PodStarted) -> Moment:
    """The moment at which a member runs the program with the spec of an epoch."""
    moment = _of(message.job_id, message.member, "started", message.at)
    text = f"epoch {message.epoch}" if message.epoch else ""
    return with_changes(moment, id=f"{moment.id}/{message.epoch}", text=text)


def exited(message: PodExited) -> Moment:
    """The moment at which a member has ended."""
    moment = _of(message.job_id, message.member, "exited", message.at)
    text = how_ended(message.exit_code, message.oom, message.fault)
    return with_changes(moment, text=text)


def how_ended(exit_code: int | None, oom: bool, fault: str) -> str:
    """The cause of an end, e.g. ``exit code 137 (SIGKILL), out of memory``."""
    words = [] if exit_code is None else [f"exit code {exit_code}{_signal(exit_code)}"]
    return ", ".join([*words, *(["out of memory"] if oom else []), *([fault] if fault else [])])


def keep(moment: Moment, ctx: Context) -> bool:
    """Store a moment, and of its kind the newest only; returns whether it was new."""
    if ctx.records.get(MOMENTS, MOMENTS.key(moment)) is not None:
        return False
    ctx.records.put(MOMENTS, moment)
    old = ctx.records.find(
        MOMENTS,
        group=moment.job_id,
        status=moment.concerns,
        newest_first=True,
        offset=MAX_MOMENTS,
        limit=_AT_ONCE,
    )
    for each in old:
        ctx.records.delete(MOMENTS, MOMENTS.key(each))
    return True


class Line(BaseModel):
    """One line of a timeline: one moment, or several members' of the same kind in a row."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    until: AwareDatetime
    """The time of the last of them."""
    kind: str
    text: str
    members: tuple[str, ...] = ()

    @computed_field
    @property
    def whom(self) -> str:
        """The members in a few words; '' for the job itself."""
        return named(self.members)


def lines_of(noted: Iterable[Moment]) -> list[Line]:
    """The timeline, oldest first."""
    lines: list[Line] = []
    for moment in sorted(noted, key=lambda m: m.at):
        number = _joins(lines, moment)
        if number is None:
            members = (moment.member,) if moment.member else ()
            lines.append(
                Line(
                    at=moment.at,
                    until=moment.at,
                    kind=moment.kind,
                    text=moment.text,
                    members=members,
                )
            )
        else:
            line = lines[number]
            # Addresses differ by nature; what all of them say stays.
            text = line.text if line.text == moment.text else ""
            grown = {"until": moment.at, "members": (*line.members, moment.member), "text": text}
            lines[number] = with_changes(line, **grown)
    return lines


def _joins(lines: list[Line], moment: Moment) -> int | None:
    """The newest line a member's moment can become part of; only of its kind are between."""
    for number in range(len(lines) - 1, -1, -1) if moment.member else ():
        line = lines[number]
        if line.kind != moment.kind or (moment.at - line.at).total_seconds() > _TOGETHER_S:
            return None
        same = line.text == moment.text or moment.kind == "reported"
        if same and moment.member not in line.members:
            return number
    return None


def named(members: tuple[str, ...]) -> str:
    """Members in a few words, e.g. ``worker-0, worker-1, worker-2 and 61 more``."""
    more = len(members) - _NAMED
    if more <= 1:
        return ", ".join(members)
    return f"{', '.join(members[:_NAMED])} and {more} more"


def _of(job_id: str, member: Member, kind: str, at: datetime) -> Moment:
    again = f"incarnation {member.incarnation}" if member.incarnation > 1 else ""
    return Moment(
        job_id=job_id,
        id=f"{member.name}/{member.incarnation}/{kind}",
        at=at,
        kind=kind,
        text=again,
        member=member.name,
        incarnation=member.incarnation,
    )


def _signal(exit_code: int) -> str:
    number = -exit_code if exit_code < 0 else exit_code - _SHELL_SIGNALS
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
