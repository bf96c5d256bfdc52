"""A job's description for people: state, members, resource use, timeline; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import AwareDatetime, BaseModel, ConfigDict, computed_field

from services.client import moments
from services.client.moments import Line, how_ended
from services.client.progress import Progress
from services.client.records import ENDED, JobView, MemberView, Moment
from services.client.usage_curve import UsageCurve
from shared.changes import with_changes
from shared.contracts import JobState, Resources, Role, memory_bytes, twice_the_memory

MAX_MEMBERS = 200
_ROLES = list(Role)
_LEAK_SHARE = 0.02
"""A program that keeps growing by this share of its limit per minute seems to leak."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class MemberShown(MemberView):
    """A member, with its requested resources and its phase in one word."""

    asked: Resources
    stands: str
    """``awaited``, ``pending``, ``reported``, ``running``; ``ended`` (well), ``failed``, ``lost``
    (to the infrastructure), ``replacing``; ``stopped`` or ``never ran`` with the job's end."""

    memory_advice: str = ""
    """The advice for a member that ran out of memory: its measured use, and what to try."""

    @computed_field
    @property
    def how(self) -> str:
        """Return how it ended, in words; '' while it has not."""
        return how_ended(self.exit_code, self.oom, self.fault)


class Description(_Frozen):
    """Everything known about a job."""

    job: JobView
    members: tuple[MemberShown, ...]
    """The members, at most ``MAX_MEMBERS``, those in trouble first."""
    members_total: int
    timeline: tuple[Line, ...]
    now: AwareDatetime
    progress: Progress | None = None
    """The progress; None if the program does not report it."""


class JobUsage(_Frozen):
    """The resources that a job requested and that its running members use."""

    job_id: str
    name: str
    state: str
    cpu_asked: float
    memory_asked: int
    gpu_asked: int
    running: int
    measured: int
    """The number of members that reported what they use."""
    cpu_used: float
    memory_used: int
    members: tuple[MemberShown, ...] = ()


def describe(
    view: JobView,
    members: Iterable[MemberView],
    noted: Iterable[Moment],
    now: AwareDatetime,
    curve_of: Callable[[MemberView], UsageCurve | None],
) -> Description:
    """The job as ``tshell describe`` and its page show it.

    ``curve_of`` is only called for members that ran out of memory.
    """
    shown = shown_members(view, members)
    first = sorted(shown, key=_trouble)[:MAX_MEMBERS]
    first = [
        with_changes(member, memory_advice=_memory_advice(member, curve_of(member)))
        if member.oom
        else member
        for member in first
    ]
    return Description(
        job=view,
        members=tuple(first),
        members_total=len(shown),
        timeline=tuple(moments.lines_of(noted)),
        now=now,
    )


def usage(view: JobView, members: Iterable[MemberView], *, each: bool) -> JobUsage:
    """The resources that a job requested and uses; with its members if ``each``."""
    shown = shown_members(view, members)
    running = [m for m in shown if m.stands == "running"]
    measured = [m for m in running if m.measured_at is not None]
    return JobUsage(
        job_id=view.job_id,
        name=view.name,
        state=view.state,
        cpu_asked=view.submit.total_cpu if view.submit else 0,
        memory_asked=view.submit.total_memory if view.submit else 0,
        gpu_asked=view.submit.total_gpu if view.submit else 0,
        running=len(running),
        measured=len(measured),
        cpu_used=sum(m.cpu_cores or 0 for m in measured),
        memory_used=sum(m.memory_bytes or 0 for m in measured),
        members=tuple(shown) if each else (),
    )


def shown_members(view: JobView, members: Iterable[MemberView]) -> list[MemberShown]:
    """Every member of the job, in order, including those that have not reported."""
    known = {member.name: member for member in members}
    for role, number in (view.submit.roles() if view.submit else {}).items():
        for index in range(number):
            awaited = MemberView(job_id=view.job_id, role=role, index=index)
            known.setdefault(awaited.name, awaited)
    return [
        MemberShown(
            **dict(member),
            asked=view.submit.resources_of(member.role) if view.submit else Resources(),
            stands=_stands(view, member),
        )
        for member in sorted(known.values(), key=lambda m: (_ROLES.index(m.role), m.index))
    ]


def _memory_advice(member: MemberShown, curve: UsageCurve | None) -> str:
    asked = member.asked.memory
    tried = f"try -m {twice_the_memory(asked)}"
    if member.memory_peak_bytes is None:
        return f"It ran out of its {asked} before it was measured; {tried}."
    measured = f"It held {member.memory_peak_bytes / 2**20:.0f}Mi of its {asked} when measured"
    growth = curve.memory_growth() if curve else 0.0
    if growth >= _LEAK_SHARE * memory_bytes(asked):
        return (
            f"{measured}, and grew by about {growth / 2**20:.0f}Mi a minute until the end: {tried},"
            " and look for what it never frees, for more memory may only put the end off."
        )
    return f"{measured}, so it asked for more at once near its end; {tried}."


def _stands(view: JobView, member: MemberView) -> str:
    over = view.state in ENDED
    if member.phase == "exited":
        return _ended(view, member, over)
    if over:
        return "stopped" if member.phase != "awaited" else "never ran"
    if view.pending is not None and member.name in view.pending.members:
        return "pending"
    return member.phase


def _ended(view: JobView, member: MemberView, over: bool) -> str:
    if not member.exit_code and not member.fault:
        return "ended"
    if view.state == JobState.RETRYING:
        return "replacing"
    with_the_job = over and (view.state != JobState.FAILED or member.infrastructure)
    if with_the_job and member.name != view.member:
        return "stopped"
    return "lost" if member.infrastructure and not over else "failed"


def _trouble(member: MemberShown) -> tuple[int, int, int]:
    order = ("failed", "lost", "replacing", "pending", "awaited", "never ran")
    rank = order.index(member.stands) if member.stands in order else len(order)
    return rank, _ROLES.index(member.role), member.index
