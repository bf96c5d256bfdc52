"""The records that the task service keeps of each job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field

from shared.changes import with_changes
from shared.contracts import (
    MAX_ARTIFACTS,
    Artifact,
    FailureClass,
    JobCancel,
    JobPlan,
    JobState,
    JobSubmit,
    Member,
    PendingCause,
    PodExited,
    Role,
    Stored,
)
from shared.store import Collection

ACTIVE_STATES = frozenset({JobState.STARTING, JobState.RUNNING, JobState.RETRYING})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Exit(_Frozen):
    """The end of a member."""

    exit_code: int
    oom: bool = False
    fault: str = ""
    infrastructure: bool = False
    preempted: bool = False
    last_lines: tuple[str, ...] = ()


class MemberRecord(_Frozen):
    """One member: its desired incarnation, and the end that it reported."""

    role: Role
    index: int
    incarnation: int = 1
    phase: Literal["wanted", "running", "exited"] = "wanted"
    epoch: int = -1
    notes: tuple[str, ...] = ()
    exit: Exit | None = None
    reported: Exit | None = Field(default=None, validation_alias=AliasChoices("reported", "told"))
    """The launcher's report of an end that only its pod knows; `told` in old records."""

    @property
    def member(self) -> Member:
        """The member as messages name it."""
        return Member(role=self.role, index=self.index, incarnation=self.incarnation)

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"

    @property
    def has_run(self) -> bool:
        """True if this incarnation has started the program."""
        return self.epoch >= 0

    def replaced(self) -> MemberRecord:
        """The member's next incarnation, still to be started."""
        return MemberRecord(role=self.role, index=self.index, incarnation=self.incarnation + 1)


_PLACES = {
    PendingCause.QUEUE,
    PendingCause.GANG,
    PendingCause.UNSCHEDULABLE,
    PendingCause.QUOTA,
}


class PendingNote(_Frozen):
    """A reason that was published, and when."""

    cause: PendingCause
    reason: str
    at: AwareDatetime

    @property
    def for_a_place(self) -> bool:
        """True if others have what it needs: no fault of its own, and no reason to give up."""
        return self.cause in _PLACES


class Verdict(_Frozen):
    """The outcome of a job, which takes effect once everything is stored and gone."""

    state: JobState
    reason: str
    at: AwareDatetime
    failure_class: FailureClass | None = None
    member: str = ""
    exit_code: int | None = None
    last_lines: tuple[str, ...] = ()


class JobRecord(_Frozen):
    """A job. ``state`` changes only through ``services.task.states``."""

    job_id: str
    submit: JobSubmit
    state: JobState
    sequence: int
    created_at: AwareDatetime
    since: AwareDatetime
    """The start of the present phase (state and attempt)."""
    attempt: int = 1
    retries: dict[FailureClass, int] = {}
    pending: PendingNote | None = None
    """The reason for which members are still missing, as published last."""
    waiting: str = ""
    """The reason for which it has not started yet, if it waits."""
    epoch: int = 0
    least_epoch: int = 0
    """Members count as running only with a spec of this epoch or later."""
    members: dict[str, MemberRecord] = {}
    artifacts: dict[str, tuple[Artifact, ...]] = {}
    """The first files of each member that are stored, so many in all as an event may name."""
    stored: dict[str, Stored] = {}
    suspect: Verdict | None = None
    """A failure that may only be a consequence of another member's loss."""
    verdict: Verdict | None = None
    ended_at: AwareDatetime | None = None
    removing: bool = False
    cleaned: bool = False
    """True if nothing of an ended job is left on the machines."""

    @property
    def all_artifacts(self) -> tuple[Artifact, ...]:
        return tuple(a for name in sorted(self.artifacts) for a in self.artifacts[name])

    @property
    def all_stored(self) -> Stored:
        """The results of all members together that are in the store, and those that are not."""
        return sum((self.stored[name] for name in sorted(self.stored)), Stored())

    def with_results(self, member: str, end: PodExited) -> JobRecord:
        """This job with what a member left; of what is stored only the first files are kept."""
        others = {name: found for name, found in self.artifacts.items() if name != member}
        room = max(0, MAX_ARTIFACTS - sum(map(len, others.values())))
        return with_changes(
            self,
            artifacts=others | {member: end.artifacts[:room]},
            stored=self.stored | {member: end.stored},
        )

    @property
    def waits_for_a_place(self) -> bool:
        """True if nothing of the job is at work because the cluster has no room for it yet."""
        return self.pending is not None and self.pending.for_a_place

    @property
    def incomplete(self) -> bool:
        """True if the job runs while a replaced worker is still to join the others."""
        return self.state is JobState.RUNNING and any(
            m.phase == "wanted" for m in self.members.values()
        )

    def with_member(self, member: MemberRecord) -> JobRecord:
        """This job with one member replaced."""
        return with_changes(self, members=self.members | {member.name: member})


def _group(record: JobRecord) -> str | None:
    """The remaining work of the reconciler: jobs to check, and jobs to delete."""
    if record.cleaned:
        return "removing" if record.removing else None
    return None if record.state is JobState.ACCEPTED else "live"


JOBS = Collection(
    "jobs",
    JobRecord,
    key=lambda r: r.job_id,
    status=lambda r: str(r.state),
    group=_group,
    due=lambda r: r.ended_at + timedelta(seconds=r.submit.ttl_s) if r.ended_at else None,
)


class PlanRequest(_Frozen):
    """A request for a plan; the next pass answers and deletes it."""

    asked: JobPlan
    at: AwareDatetime


PLANS = Collection("plans", PlanRequest, key=lambda r: r.asked.request_id)


EARLY_CANCEL_KEPT = timedelta(minutes=30)
"""The time for which a cancel waits for its job: a submit's last retry comes within 13 minutes."""
MAX_EARLY_CANCELS = 10_000


class EarlyCancel(_Frozen):
    """A cancel that came before its job, whose submit may be waiting for a retry."""

    asked: JobCancel
    at: AwareDatetime

    @property
    def until(self) -> datetime:
        """The time from which it no longer holds: a job of this id is then another one."""
        return self.at + EARLY_CANCEL_KEPT


EARLY_CANCELS = Collection(
    "early_cancels", EarlyCancel, key=lambda r: r.asked.job_id, due=lambda r: r.until
)


def first_members(submit: JobSubmit) -> dict[str, MemberRecord]:
    """The members a job starts with; a single job has one worker."""
    numbers = submit.roles().items()
    members = [MemberRecord(role=r, index=i) for r, n in numbers for i in range(n)]
    return {member.name: member for member in members}


def deciders(submit: JobSubmit) -> list[str]:
    """Names of the members whose success ends the job."""
    policy = submit.success_policy or ("chief" if submit.chief else "worker0")
    if policy == "chief":
        return ["chief-0"]
    if policy == "worker0" or submit.type == "single":
        return ["worker-0"]
    return [f"worker-{index}" for index in range(submit.workers)]


def primary(submit: JobSubmit) -> str:
    """The member whose model is the job's model."""
    return "chief-0" if submit.chief else "worker-0"
