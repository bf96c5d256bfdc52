"""The Kubernetes objects of a job; pure.

A pod's life: the init container ``fetch`` downloads and unpacks, the job's own containers start,
the native sidecar ``launcher`` speaks for the member and outlives ``program``, which runs the
user's image with nothing of ours but a directory it shares with the launcher. Only fetch and
launcher see the job's Secret.
"""

from __future__ import annotations

from services.task.runtimes.kubernetes import containers, mounts, names
from services.task.runtimes.kubernetes.placing import placing
from services.task.runtimes.kubernetes.template import Template
from services.task.spec import SPEC_FILE, TRUST_FILE
from shared.cluster import Object
from shared.contracts import JobSubmit, Role

_SLACK_S = 900
"""The time that fetching and storing may add to a job's own time limits."""
_WAIT_S = 30 * 86_400
"""The time in which a job without a limit of its own may wait for a place."""
_RECOVERIES = 1000
"""The task service decides about failures; Kubernetes' own limit must never come first."""
_EXCHANGE = "1Gi"
"""Four times what the program's output may wait there for the launcher to read it."""


def secret(template: Template, submit: JobSubmit, spec: str) -> Object:
    """The Secret with what fetch and launcher of every member need; it owns the job's Jobs."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.base_name(submit.job_id),
            "namespace": template.namespace_of(submit),
            "labels": names.labels(template.owner, submit.job_id),
            "annotations": {names.JOB_ID: submit.job_id},
        },
        "stringData": {SPEC_FILE: spec},
    }


def claim_template(
    template: Template, submit: JobSubmit, group: str, *, owner_uid: str
) -> Object | None:
    """GPUs of a group's pods through dynamic resource allocation, where that is asked for."""
    asked = submit.resources_of(_role(submit, group))
    if not _claims_devices(submit, group):
        return None
    exactly = {"deviceClassName": asked.device_class, "count": asked.gpu}
    request = {"name": containers.CLAIM, "exactly": exactly}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {
            "name": names.group_name(submit.job_id, group),
            "namespace": template.namespace_of(submit),
            "labels": names.labels(template.owner, submit.job_id),
            **_owned(submit, owner_uid),
        },
        "spec": {"spec": {"devices": {"requests": [request]}}},
    }


def service(template: Template, submit: JobSubmit, *, owner_uid: str) -> Object | None:
    """The Service that gives an elastic job's members names which outlive their pods."""
    if not submit.elastic:
        return None
    marks = names.labels(template.owner, submit.job_id)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names.service_name(submit.job_id),
            "namespace": template.namespace_of(submit),
            "labels": marks,
            **_owned(submit, owner_uid),
        },
        # Without an address of its own. A member reports before its pod is ready.
        "spec": {"clusterIP": "None", "selector": marks, "publishNotReadyAddresses": True},
    }


def job(
    template: Template,
    submit: JobSubmit,
    group: str,
    completions: int,
    *,
    base: int,
    owner_uid: str,
) -> Object:
    """One group's Indexed Job.

    Args:
        template: the installation's part.
        submit: the job.
        group: a role, or ``names.ALL``.
        completions: how many members the group has.
        base: incarnations there were before this Job.
        owner_uid: uid of the job's Secret, '' where there is none yet (a dry run).
    """
    marks = {**names.labels(template.owner, submit.job_id), names.GROUP: group}
    marks[names.PROJECT] = submit.project
    notes = {
        names.JOB_ID: submit.job_id,
        names.ROLES: names.roles_text(submit),
        names.BASE: str(base),
    }
    queue = template.queue_of(submit)
    of_pods = marks | names.training_labels(submit, group, completions)
    pod = {
        "metadata": {"labels": of_pods, "annotations": notes},
        "spec": _pod(template, submit, group),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.group_name(submit.job_id, group),
            "namespace": template.namespace_of(submit),
            "labels": marks | ({names.QUEUE: queue} if queue else {}),
            "annotations": notes,
            **_owned(submit, owner_uid),
        },
        "spec": _spec(submit, completions) | {"suspend": bool(queue), "template": pod},
    }


def _owned(submit: JobSubmit, uid: str) -> Object:
    """The reference to the job's Secret, with which its other objects go."""
    owner = {"apiVersion": "v1", "kind": "Secret", "name": names.base_name(submit.job_id)}
    return {"ownerReferences": [owner | {"uid": uid}]} if uid else {}


def _spec(submit: JobSubmit, completions: int) -> Object:
    limits = submit.timeouts
    return {
        "completionMode": "Indexed",
        "completions": completions,
        "parallelism": completions,
        "backoffLimitPerIndex": _RECOVERIES,
        "maxFailedIndexes": completions,
        "podReplacementPolicy": "Failed",
        # A disruption is nobody's failure; what else ended a pod is judged by us.
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                }
            ]
        },
        # Should nobody be there to end it.
        "activeDeadlineSeconds": int(
            (limits.wait_s or _WAIT_S) + limits.start_s + limits.run_s + _SLACK_S
        ),
    }


def _role(submit: JobSubmit, group: str) -> Role:
    """The role of a group; of a queued cluster the first, since all roles ask for the same."""
    roles = submit.roles()
    return next((role for role in roles if str(role) == group), next(iter(roles)))


def _volumes(template: Template, submit: JobSubmit, role: Role) -> list[Object]:
    """The platform's volumes of a pod, then the job's own."""
    storage = submit.resources_of(role).storage or template.storage
    return [
        {"name": "exchange", "emptyDir": {"sizeLimit": _EXCHANGE}},
        {"name": "work", "emptyDir": {"sizeLimit": storage}},
        {"name": "checkpoints", "emptyDir": {"sizeLimit": storage}},
        {"name": "private", "emptyDir": {"sizeLimit": storage}},
        {
            "name": "job",
            "secret": {"secretName": names.base_name(submit.job_id), "defaultMode": 0o440},
        },
        *_trust(template),
        *mounts.volumes(submit, role),
    ]


def _pod(template: Template, submit: JobSubmit, group: str) -> Object:
    role = _role(submit, group)
    gated = sum(submit.roles().values()) > 1
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": template.uid,
            "runAsGroup": template.uid,
            "fsGroup": template.uid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [
            containers.ours(template, submit, names.FETCH, "fetch", group),
            *(containers.own(template, submit, role, e) for e in submit.containers_of(role)),
            containers.ours(template, submit, names.LAUNCHER, "pod", group)
            | {"restartPolicy": "Always"},
        ],
        "containers": [containers.program(template, submit, role)],
        "volumes": _volumes(template, submit, role),
    }
    priority = submit.priority_class or template.priority_class
    optional: Object = {
        "priorityClassName": priority,
        "subdomain": names.service_name(submit.job_id) if submit.elastic else "",
        "hostNetwork": submit.host_network,
        "dnsPolicy": "ClusterFirstWithHostNet" if submit.host_network else "",
        "serviceAccountName": submit.service_account and submit.service_account.name,
        **placing(template, submit, role),
        "schedulingGates": (
            [{"name": names.GATE}] if gated and not template.queue_of(submit) else []
        ),
        "resourceClaims": _claims(submit, group),
        "imagePullSecrets": [{"name": name} for name in submit.image_pull_secrets],
    }
    return spec | {name: value for name, value in optional.items() if value}


def _trust(template: Template) -> list[Object]:
    """Public, so every container could see it; only launchers have a use for it."""
    if not template.trust:
        return []
    items = [{"key": TRUST_FILE, "path": TRUST_FILE}]
    return [{"name": "trust", "configMap": {"name": template.trust, "items": items}}]


def _claims_devices(submit: JobSubmit, group: str) -> bool:
    asked = submit.resources_of(_role(submit, group))
    return bool(asked.device_class and asked.gpu)


def _claims(submit: JobSubmit, group: str) -> list[Object]:
    if not _claims_devices(submit, group):
        return []
    name = names.group_name(submit.job_id, group)
    return [{"name": containers.CLAIM, "resourceClaimTemplateName": name}]
