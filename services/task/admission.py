"""Admission: jobs start in order, and a cluster starts as a whole or not at all; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.task.records import JobRecord
from services.task.settings import TaskSettings


@dataclass(frozen=True)
class Capacity:
    """CPU cores, bytes of memory, and jobs at once."""

    cpu: float
    memory: float
    jobs: int

    def __sub__(self, other: Capacity) -> Capacity:
        return Capacity(self.cpu - other.cpu, self.memory - other.memory, self.jobs - other.jobs)

    def __str__(self) -> str:
        return f"{max(self.cpu, 0):g} cores and {max(self.memory, 0) / 2**20:.0f} MiB"

    def holds(self, other: Capacity) -> bool:
        return (
            other.cpu <= self.cpu + 1e-9 and other.memory <= self.memory and other.jobs <= self.jobs
        )


def capacity(settings: TaskSettings) -> Capacity:
    """The resources that all jobs together may have."""
    return Capacity(settings.cpu, settings.memory, settings.max_active)


def demand(record: JobRecord) -> Capacity:
    """The resources that all members of a job need together."""
    return Capacity(record.submit.total_cpu, record.submit.total_memory, 1)


def admit(
    waiting: Iterable[JobRecord], active: Iterable[JobRecord], total: Capacity
) -> Iterator[tuple[JobRecord, str]]:
    """Each waiting job with the reason why it must wait, '' when it may start.

    No job overtakes another: otherwise a stream of small ones would keep a big one waiting forever.
    """
    free = total
    for record in active:
        free -= demand(record)
    ahead: JobRecord | None = None
    for record in waiting:
        needed = demand(record)
        if ahead is not None:
            # Nothing about another project's jobs is revealed, not even their ids.
            same = ahead.submit.project == record.submit.project
            yield record, f"waits behind {f'job {ahead.job_id}' if same else 'another job'}"
        elif free.holds(needed):
            free -= needed
            yield record, ""
        else:
            ahead = record
            if free.jobs < 1:
                yield record, f"waits for one of {total.jobs} active jobs to end"
            else:
                yield record, f"waits for capacity: needs {needed}, free are {free}"
