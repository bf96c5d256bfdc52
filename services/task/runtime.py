"""Where members run. A runtime hears again and again what should be; it holds no truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.task.records import Exit
from services.task.spec import MemberSpec, member_key
from shared.contracts import JobSubmit, Member, PendingCause, PodExited

__all__ = ["MemberSpec", "Observed", "Pending", "Runtime", "RuntimeUnavailable", "member_key"]


class RuntimeUnavailable(Exception):
    """The runtime cannot act now; it is asked again."""


@dataclass(frozen=True)
class Observed:
    """A member's incarnation as the runtime sees it."""

    job_id: str
    member: Member
    alive: bool
    end: PodExited | None = None
    """The last report of a dead one, where the runtime has it: it was not lost."""
    fate: Exit | None = None
    """How a dead one ended as its surroundings saw it."""

    @property
    def key(self) -> str:
        return member_key(self.job_id, self.member)


@dataclass(frozen=True)
class Pending:
    """The reason why a job does not start, and what to do."""

    cause: PendingCause
    reason: str
    advice: str
    members: tuple[str, ...] = ()
    overdue: bool = False
    """Part of its cluster holds nodes in vain: it is to give them back and wait again."""


class Runtime(Protocol):
    """Starts and stops members. Every call may be repeated at any time without harm."""

    def start(self, submit: JobSubmit, members: Sequence[Member]) -> None:
        """Start these incarnations unless they were started before, by whomever.

        Called for every active job, also with nothing to start: what the runtime keeps up for a
        job, it keeps up after a restart, too.
        """

    def changed(self) -> set[str] | None:
        """Jobs of which something else may be seen than when this was asked last.

        None where the runtime does not hear of changes: any job may have changed.
        """

    def observe(self, job_ids: Collection[str] | None = None) -> list[Observed]:
        """Every incarnation of these jobs (None: of all) that was started and not yet removed."""

    def known(self) -> set[str]:
        """Ids of the jobs of which anything is there."""

    def pending(self, job_id: str) -> Pending | None:
        """The cause that keeps a job from starting, None where none is known."""

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        """Ask it to store its results and end; ``grace_s`` after the first asking, end it."""

    def end(self, job_id: str, members: Sequence[Member], grace_s: float) -> None:
        """The same for all that is left of a job; nothing of it is started any more."""

    def remove(self, job_id: str) -> bool:
        """Delete what is left of a job none of whose members is alive; True when all is gone."""

    def close(self) -> None:
        """Hold no connection and no thread any more; members live on."""
