"""What makes a job impossible here, all of it named at once.

The contract has checked each field by itself; this looks at fields together, and at what this
installation allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.task.records import first_members
from shared.contracts import Fault, JobSubmit, memory_bytes

RESERVED_ENV = ("TF_CONFIG", "PATH", "HOME", "TMPDIR", "LD_PRELOAD", "LD_LIBRARY_PATH")
RESERVED_PREFIX = "BAROGRAPH_"
_LEAST_MEMORY = 2**20 * 16


@dataclass(frozen=True)
class Quotas:
    """What one job may have: cores and bytes over all members, GPUs and members."""

    cpu: float
    memory: int
    gpu: int
    members: int


def faults(submit: JobSubmit, quotas: Quotas) -> tuple[Fault, ...]:
    """Everything wrong with a job; empty when it can run."""
    return tuple(
        Fault(field=field, problem=problem)
        for check in (_roles, _resources, _program, _environment)
        for field, problem in check(submit, quotas)
    )


def _roles(submit: JobSubmit, quotas: Quotas) -> Iterator[tuple[str, str]]:
    number = len(first_members(submit))
    if number > quotas.members:
        yield "workers", f"{number} members are asked for; at most {quotas.members} are allowed"
    if submit.cluster_style == "flags" and submit.type == "single":
        yield "cluster_style", "'flags' needs type 'distribute'; a single job has no cluster"
    if submit.type == "single" and submit.success_policy not in (None, "worker0"):
        yield "success_policy", "a single job ends with its only member; leave this out"


def _resources(submit: JobSubmit, quotas: Quotas) -> Iterator[tuple[str, str]]:
    number = len(first_members(submit))
    asked = submit.resources
    if asked.cpu * number > quotas.cpu:
        yield (
            "resources.cpu",
            f"{number} x {asked.cpu:g} cores are asked for; {quotas.cpu:g} is the quota",
        )
    each = memory_bytes(asked.memory)
    if each * number > quotas.memory:
        mib = quotas.memory // 2**20
        yield (
            "resources.memory",
            f"{number} x {asked.memory} is asked for; {mib}Mi is the quota",
        )
    if each < _LEAST_MEMORY:
        yield "resources.memory", "less than 16Mi cannot hold any program"
    if asked.gpu > quotas.gpu:
        yield "resources.gpu", f"{asked.gpu} GPUs are asked for; {quotas.gpu} is the quota"


def _program(submit: JobSubmit, _quotas: Quotas) -> Iterator[tuple[str, str]]:
    if not submit.main.endswith(".py"):
        yield "main", "must name a Python file (.py)"
    if any("\x00" in arg for arg in submit.args):
        yield "args", "must not contain NUL characters"


def _environment(submit: JobSubmit, _quotas: Quotas) -> Iterator[tuple[str, str]]:
    for name, value in submit.env.items():
        if name in RESERVED_ENV or name.startswith(RESERVED_PREFIX):
            yield f"env.{name}", "this name is reserved for the platform"
        if "\x00" in value:
            yield f"env.{name}", "must not contain NUL characters"
