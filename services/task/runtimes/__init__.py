"""Where members run. A runtime is told again and again what should be; it holds no truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.task.spec import MemberSpec, member_key
from shared.contracts import Member, PodExited

__all__ = ["MemberSpec", "Observed", "Runtime", "RuntimeUnavailable", "member_key"]


class RuntimeUnavailable(Exception):
    """The runtime cannot act now; it is asked again."""


@dataclass(frozen=True)
class Observed:
    """A member's incarnation as the runtime sees it."""

    job_id: str
    member: Member
    alive: bool
    end: PodExited | None = None
    """What a dead one said last, where the runtime knows: it was not lost."""

    @property
    def key(self) -> str:
        return member_key(self.job_id, self.member)


class Runtime(Protocol):
    """Starts and stops members. Every call may be repeated at any time without harm."""

    def start(self, spec: MemberSpec) -> None:
        """Start this incarnation unless it was started before, by whomever."""

    def observe(self) -> list[Observed]:
        """Every incarnation that was started and not yet removed."""

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        """Ask it to store its results and end; ``grace_s`` after the first asking, end it."""

    def remove(self, job_id: str) -> None:
        """Delete what is left of a job none of whose members is alive."""
