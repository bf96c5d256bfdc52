"""The records that autospec keeps of each job."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts import Member, Role
from shared.store import Collection


class Reported(BaseModel):
    """The newest incarnation of a member, and where it listens."""

    model_config = ConfigDict(frozen=True)

    member: Member
    host: str
    port: int

    @property
    def address(self) -> str:
        """``host:port``, with an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Rendezvous(BaseModel):
    """The rendezvous of one job.

    ``awaited`` before ``rendezvous.open`` came (reports may overtake it), ``open`` until the job
    ends, then ``closed`` for a while so that late members are still sent away.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    status: Literal["awaited", "open", "closed"]
    roles: dict[Role, int] = {}
    least: dict[str, int] = {}
    """Least incarnation that counts, by member name, where it is not 1."""
    reported: dict[str, Reported] = {}
    epoch: int = 0
    least_epoch: int = 0
    """Least epoch of the next specification, as the task service demands it."""
    addresses: dict[str, str] = {}
    """The addresses at which the members of the newest epoch listen, by name."""
    deadline: AwareDatetime | None = None
    due: AwareDatetime | None = None
    timed_out: bool = False
    """True if the deadline has passed without all members; the record is forgotten when due."""

    def missing(self) -> list[str]:
        """Names of the members that have not reported, e.g. ``worker-1``."""
        names = [f"{role}-{index}" for role, n in self.roles.items() for index in range(n)]
        return [name for name in names if name not in self.reported]

    def reported_addresses(self) -> dict[str, str]:
        """The addresses of the members that have reported, by name."""
        return {name: each.address for name, each in self.reported.items()}


RENDEZVOUS = Collection(
    "rendezvous",
    Rendezvous,
    key=lambda r: r.job_id,
    status=lambda r: r.status,
    due=lambda r: r.due,
)
