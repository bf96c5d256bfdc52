"""Validates a job against this installation, naming all faults at once.

The contract has checked each field by itself; this looks at fields together, and at what this
installation allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.task.records import first_members
from shared.contracts import Fault, JobSubmit, Resources, memory_bytes
from shared.job_checks import job_faults
from shared.packages.places import is_package, prefix_of


@dataclass(frozen=True)
class Quotas:
    """The resources that one job may have: cores and bytes over all members, GPUs and members."""

    cpu: float
    memory: float
    gpu: int
    members: int
    bucket: str = "barograph"
    """The bucket of packages."""


def faults(submit: JobSubmit, quotas: Quotas) -> tuple[Fault, ...]:
    """Everything wrong with a job; empty when it can run."""
    found = [each for check in (_roles, _resources, _package) for each in check(submit, quotas)]
    found += job_faults(submit)
    return tuple(Fault(field=field, problem=problem) for field, problem in found)


def _roles(submit: JobSubmit, quotas: Quotas) -> Iterator[tuple[str, str]]:
    number = len(first_members(submit))
    if number > quotas.members:
        yield "workers", f"{number} members are requested; at most {quotas.members} are allowed"
    if submit.cluster_style == "flags" and submit.type == "single":
        yield "cluster_style", "'flags' needs type 'distribute'; a single job has no cluster"
    if submit.type == "single" and submit.success_policy not in (None, "worker0"):
        yield "success_policy", "a single job ends with its only member; leave this out"


def _resources(submit: JobSubmit, quotas: Quotas) -> Iterator[tuple[str, str]]:
    if submit.total_cpu > quotas.cpu:
        asked = _sum(submit, lambda each: f"{each.cpu:g} cores")
        yield "resources.cpu", f"{asked} are requested; {quotas.cpu:g} is the quota of all jobs"
    if submit.total_memory > quotas.memory:
        asked = _sum(submit, lambda each: each.memory)
        yield (
            "resources.memory",
            f"{asked} is requested; {quotas.memory / 2**20:.0f}Mi is the quota of all jobs",
        )
    for role in submit.roles():
        each, own = submit.resources_of(role), role in submit.role_resources
        field = f"role_resources.{role}" if own else "resources"
        if each.shared_memory and memory_bytes(each.shared_memory) > memory_bytes(each.memory):
            yield f"{field}.shared_memory", "it counts as memory: at most as much as `memory`"
        if each.gpu > quotas.gpu:
            yield f"{field}.gpu", f"GPUs requested: {each.gpu}; the quota is {quotas.gpu}"


def _sum(submit: JobSubmit, said: Callable[[Resources], str]) -> str:
    """E.g. ``1 x 2Gi + 4 x 8Gi``, for roles that differ."""
    numbers: dict[str, int] = {}
    for role, number in submit.roles().items():
        text = said(submit.resources_of(role))
        numbers[text] = numbers.get(text, 0) + number
    total = " + ".join(f"{number} x {text}" for text, number in numbers.items())
    return f"{total}, beside its own containers," if submit.containers else total


def _package(submit: JobSubmit, quotas: Quotas) -> Iterator[tuple[str, str]]:
    """Check that the package belongs to the project; the signer's key could read any object."""
    if not is_package(submit.package, quotas.bucket, submit.project):
        place = f"{quotas.bucket}:{prefix_of(submit.project)}:NAME"
        yield "package", f"must be {place}, as `tshell upload` says it for the job's project"
