"""Names and labels of a job's objects, deterministic so that a repeated start finds them."""

from __future__ import annotations

import hashlib
import re

from shared.contracts import JobSubmit, Member, Role

MANAGED = "app.kubernetes.io/managed-by"
OWNER = "app.kubernetes.io/instance"
JOB = "barograph.io/job"
"""Label: a digest of the job's id, which may be no label value itself."""
GROUP = "barograph.io/group"
"""Label: the role, or ``all`` where one Job holds every role."""
PROJECT = "barograph.io/project"
"""Label: the project that owns the job."""
JOB_ID = "barograph.io/job-id"
"""Annotation."""
ROLES = "barograph.io/roles"
"""Annotation: how many members of each role the job has, in order, as ``ps=1,worker=2``."""
BASE = "barograph.io/base"
"""Annotation: incarnations before the first of this Job's pods."""
INDEX = "batch.kubernetes.io/job-completion-index"
FAILED = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "BAROGRAPH_INDEX"
"""The variable by which our containers know the completion index."""
QUEUE = "kueue.x-k8s.io/queue-name"
GATE = "barograph.io/gang"
ALL = "all"

TRAINING = "training.kubeflow.org"
"""Prefix of the labels by which the Training Operator's users select pods."""
REPLICA_INDEX = f"{TRAINING}/replica-index"
"""Label: a member's index within its role, once the pod is there."""

PROGRAM, LAUNCHER, FETCH = "program", "launcher", "fetch"
"""Containers of a member's pod."""

_SLUG = 30
_MAX_LABEL = 63


def digest(job_id: str) -> str:
    """A label value that stands for a job."""
    return hashlib.sha256(job_id.encode()).hexdigest()[:16]


def base_name(job_id: str) -> str:
    """The beginning of the names of a job's objects; no two jobs share it."""
    slug = re.sub(r"[^a-z0-9]+", "-", job_id.lower())[:_SLUG].strip("-")
    return f"{slug}-{digest(job_id)[:10]}" if slug else f"job-{digest(job_id)[:10]}"


def group_name(job_id: str, group: str) -> str:
    """The name of a group's Job, and of its claim template."""
    return f"{base_name(job_id)}-{group}"


def host(submit: JobSubmit, group: str) -> str:
    """The name of a group's members among the job's pods, by which an elastic job's are reached.

    An Indexed Job names its pods' hosts so, and each of them has the same name again.
    """
    return f"{group_name(submit.job_id, group)}-$({INDEX_VARIABLE}).{service_name(submit.job_id)}"


def service_name(job_id: str) -> str:
    """The name of an elastic job's Service, which must begin with a letter."""
    return f"members-{digest(job_id)}"


def labels(owner: str, job_id: str) -> dict[str, str]:
    """The labels that every object of a job carries."""
    return {MANAGED: "barograph", OWNER: owner, JOB: digest(job_id)}


def training_labels(submit: JobSubmit, group: str, completions: int) -> dict[str, str]:
    """The labels that the Training Operator gives to all pods of a group alike."""
    name = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", submit.name[:_MAX_LABEL])
    found = {f"{TRAINING}/job-name": name}
    if group != ALL:
        found[f"{TRAINING}/replica-type"] = group
        if completions == 1:
            found |= member_labels(
                roles_text(submit), Member(role=Role(group), index=0, incarnation=1)
            )
    return found


def member_labels(roles: str, member: Member) -> dict[str, str]:
    """The labels of the Training Operator that differ from pod to pod.

    Args:
        roles: value of the annotation ``ROLES``.
        member: whose pod it is.
    """
    found = {
        f"{TRAINING}/replica-type": str(member.role),
        REPLICA_INDEX: str(member.index),
    }
    leads = Role.CHIEF if any(e.startswith(f"{Role.CHIEF}=") for e in roles.split(",")) else None
    if (member.role, member.index) == (leads or Role.WORKER, 0):
        found[f"{TRAINING}/job-role"] = "master"
    return found


def selector(owner: str) -> str:
    """Every object of this installation's jobs."""
    return f"{MANAGED}=barograph,{OWNER}={owner}"


def groups(submit: JobSubmit, *, queued: bool) -> dict[str, int]:
    """The Jobs of a job by group, with their completions.

    Kueue admits each Job by itself, so a cluster it is to admit as a whole is one Job.
    """
    roles = submit.roles()
    if queued and len(roles) > 1:
        return {ALL: sum(roles.values())}
    return {str(role): number for role, number in roles.items()}


def place_of(submit: JobSubmit, member: Member, *, queued: bool) -> tuple[str, int]:
    """Group and completion index of a member."""
    if ALL not in groups(submit, queued=queued):
        return str(member.role), member.index
    before = 0
    for role, number in submit.roles().items():
        if role is member.role:
            break
        before += number
    return ALL, before + member.index


def roles_text(submit: JobSubmit) -> str:
    """The value of the annotation ``ROLES``."""
    return ",".join(f"{role}={number}" for role, number in submit.roles().items())


def member_named(name: str, incarnation: int) -> Member:
    """``worker-1`` as a member."""
    role, _, index = name.rpartition("-")
    return Member(role=Role(role), index=int(index), incarnation=incarnation)


def member_at(roles: str, group: str, index: int, incarnation: int) -> Member | None:
    """The member with this completion index of a group; None when the job has none there.

    Args:
        roles: value of the annotation ``ROLES``.
        group: value of the label ``GROUP``.
        index: completion index within the group's Job.
        incarnation: which of the member's incarnations.
    """
    if group != ALL:
        if group not in set(Role):
            return None
        return Member(role=Role(group), index=index, incarnation=incarnation)
    for part in filter(None, roles.split(",")):
        role, _, number = part.partition("=")
        if index < int(number):
            return Member(role=Role(role), index=index, incarnation=incarnation)
        index -= int(number)
    return None
