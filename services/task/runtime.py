"""The port of runtimes, which are told repeatedly what should run and keep no state of record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.task.records import Exit
from services.task.spec import MemberSpec, member_key
from shared.contracts import JobSubmit, Member, PendingCause, PodExited

__all__ = ["MemberSpec", "Observed", "Pending", "Runtime", "RuntimeUnavailable", "member_key"]


class RuntimeUnavailable(Exception):
    """The runtime cannot act now; the call is repeated."""


@dataclass(frozen=True)
class Observed:
    """A member's incarnation as the runtime sees it."""

    job_id: str
    member: Member
    alive: bool
    end: PodExited | None = None
    """The last report of a dead one, where the runtime has it: it was not lost."""
    fate: Exit | None = None
    """The end of a dead one, as observed from outside."""

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
    """Part of its cluster occupies nodes uselessly: it must release them and wait again."""


class Runtime(Protocol):
    """Starts and stops members. Every call may be repeated at any time without harm."""

    def start(self, submit: JobSubmit, members: Sequence[Member]) -> None:
        """Start these incarnations unless they have been started before, by any process.

        Called for every active job, even with nothing to start, so that the runtime can restore
        what it maintains for a job after a restart.
        """

    def changed(self) -> set[str] | None:
        """Jobs of which something may have changed since the last call.

        None if the runtime is not notified of changes: any job may have changed.
        """

    def observe(self, job_ids: Collection[str] | None = None) -> list[Observed]:
        """Every incarnation of these jobs (None: of all) that was started and not yet removed."""

    def known(self) -> set[str]:
        """Ids of the jobs of which anything exists."""

    def pending(self, job_id: str) -> Pending | None:
        """The cause that keeps a job from starting; None if none is known."""

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        """Ask it to store its results and stop; kill it ``grace_s`` after the first request."""

    def end(self, job_id: str, members: Sequence[Member], grace_s: float) -> None:
        """The same for everything left of a job; none of it is started any more."""

    def remove(self, job_id: str) -> bool:
        """Delete what is left of a job without living members; True when everything is gone."""

    def close(self) -> None:
        """Release all connections and threads; members keep running."""
