"""Gang scheduling: decides whose scheduling gates may open, so that all pods start or none; pure.

Without this two jobs that each need most of the cluster could hold half of it each, forever. A
gang is opened when it fits beside all of ours that are placed or opened, in order of creation. One
that finds no nodes all the same, since others use them too, gives back what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.task.runtimes.kubernetes import names, pods
from services.task.runtimes.kubernetes.room import Free, Need
from shared.cluster import Object
from shared.contracts import DEFAULT_PROJECT


@dataclass(frozen=True)
class Gang:
    """The pods of one job's cluster that have not ended; ``total`` is how many it needs."""

    job_id: str
    created: str
    total: int
    pods: Sequence[Object]

    @property
    def project(self) -> str:
        """The project of the job; pods of an earlier version name none."""
        labels = self.pods[0]["metadata"]["labels"] if self.pods else {}
        return str(labels.get(names.PROJECT, DEFAULT_PROJECT))

    @property
    def gated(self) -> list[Object]:
        return [pod for pod in self.pods if pods.gated(pod)]

    @property
    def unplaced(self) -> list[Object]:
        return [p for p in self.pods if not pods.gated(p) and not p["spec"]["nodeName"]]

    @property
    def placed(self) -> int:
        return sum(1 for pod in self.pods if pod["spec"]["nodeName"])

    @property
    def begun(self) -> bool:
        """True if its gates were opened already: a replaced member only joins the others."""
        return any(not pods.gated(pod) for pod in self.pods)


@dataclass
class Keeper:
    """Tracks how long opened gangs have waited for nodes, and which gave theirs back."""

    patience_s: float
    _opened: dict[str, float] = field(default_factory=dict)
    _resting: dict[str, float] = field(default_factory=dict)

    def decide(
        self, gangs: Iterable[Gang], free: Free | None, now: float
    ) -> tuple[list[Gang], Mapping[str, str], set[str]]:
        """The gangs to open; a sentence for each that is held; those that must give back.

        ``free`` is None where nodes cannot be seen: then one gang at a time finds its nodes.
        """
        ordered = sorted(gangs, key=lambda gang: (gang.created, gang.job_id))
        seeking = [gang for gang in ordered if gang.unplaced]
        overdue = self._overdue(seeking, now)
        opening = [gang for gang in ordered if gang.begun and gang.gated]
        waiting = [gang for gang in ordered if gang.gated and not gang.begun]
        if free is not None:
            for gang in seeking:
                free.pack([Need.of_pod(pod) for pod in gang.unplaced])
        held: dict[str, str] = {}
        ahead = seeking[0] if seeking and free is None else None
        for gang in waiting:
            sentence = self._sentence(gang, free, ahead, now)
            if sentence:
                held[gang.job_id] = sentence
                ahead = ahead or gang
            else:
                opening.append(gang)
                ahead = gang if free is None else ahead
        return opening, held, overdue

    def forget(self, known: set[str]) -> None:
        """Drop what is remembered of jobs that are gone."""
        for memory in (self._opened, self._resting):
            for job_id in memory.keys() - known:
                del memory[job_id]

    def _sentence(self, gang: Gang, free: Free | None, ahead: Gang | None, now: float) -> str:
        if len(gang.pods) < gang.total:
            return f"{len(gang.pods)} of its {gang.total} pods are made"
        if ahead is not None:
            # Nothing about another project's jobs is revealed, not even their ids.
            same = ahead.project == gang.project
            return f"waits behind {f'job {ahead.job_id}' if same else 'another job'}"
        if now < self._resting.get(gang.job_id, 0.0):
            return "gave back nodes that were not enough for all of it; tries again soon"
        if free is not None and not free.pack([Need.of_pod(pod) for pod in gang.pods]):
            return f"the nodes have no room for all {gang.total} pods at once"
        return ""

    def _overdue(self, seeking: Sequence[Gang], now: float) -> set[str]:
        ids = {gang.job_id for gang in seeking}
        for job_id in self._opened.keys() - ids:
            del self._opened[job_id]
        found = set()
        for gang in seeking:
            since = self._opened.setdefault(gang.job_id, now)
            if gang.placed and now - since > self.patience_s:
                found.add(gang.job_id)
                self._resting[gang.job_id] = now + self.patience_s / 2
        return found
