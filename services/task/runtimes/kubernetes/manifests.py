"""From a job to its Kubernetes objects; pure.

A pod's life: the init container ``fetch`` downloads and unpacks, the native sidecar ``launcher``
speaks for the member and outlives ``program``, which runs the user's image with nothing of ours
but a directory it shares with the launcher. Only fetch and launcher see the job's Secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.task.runtimes.kubernetes import mounts, names
from services.task.settings import TaskSettings
from services.task.spec import SPEC_FILE, PodPlaces
from shared.cluster import Object
from shared.contracts import JobSubmit, Resources, Role

_CLAIM = "gpu"
_SLACK_S = 900
"""What fetching and storing may add to a job's own time limits."""
_RECOVERIES = 1000
"""The task service decides about failures; Kubernetes' own limit must never come first."""
_OURS = {
    "requests": {"cpu": "50m", "memory": "96Mi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "512Mi", "ephemeral-storage": "1Gi"},
}
_STORAGE_REQUEST = "256Mi"
"""Programs share the node's disk as they need it; the limit ends one that takes it all."""
_EXCHANGE = "1Gi"
"""Four times what the program's output may wait there for the launcher to read it."""


@dataclass(frozen=True)
class Template:
    """What this installation adds to every job."""

    namespace: str
    owner: str
    launcher_image: str
    program_image: str
    pull_policy: str = "IfNotPresent"
    priority_class: str = ""
    queue: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, object]] = ()
    grace_s: int = 120
    node_loss_s: int = 30
    uid: int = 10_001
    storage: str = "64Gi"

    @classmethod
    def of(cls, settings: TaskSettings) -> Template:
        """As the settings say."""
        return cls(
            namespace=settings.namespace,
            owner=settings.owner,
            launcher_image=settings.launcher_image,
            program_image=settings.program_image,
            pull_policy=settings.image_pull_policy,
            priority_class=settings.priority_class,
            queue=settings.queue,
            node_selector=settings.node_selector,
            tolerations=settings.tolerations,
            grace_s=settings.pod_grace_s,
            node_loss_s=settings.node_loss_s,
            uid=settings.program_uid,
            storage=settings.program_storage,
        )

    def queue_of(self, submit: JobSubmit) -> str:
        """Kueue's LocalQueue for this job, '' for none."""
        return submit.queue or self.queue


def secret(template: Template, submit: JobSubmit, spec: str) -> Object:
    """What fetch and launcher of every member are told; owner of the job's Jobs."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.base_name(submit.job_id),
            "namespace": template.namespace,
            "labels": names.labels(template.owner, submit.job_id),
            "annotations": {names.JOB_ID: submit.job_id},
        },
        "stringData": {SPEC_FILE: spec},
    }


def claim_template(template: Template, submit: JobSubmit, group: str) -> Object | None:
    """GPUs of a group's pods through dynamic resource allocation, where that is asked for."""
    asked = _resources(submit, group)
    if not asked.device_class or not asked.gpu:
        return None
    request = {"deviceClassName": asked.device_class, "count": asked.gpu}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {
            "name": f"{names.base_name(submit.job_id)}-{group}",
            "namespace": template.namespace,
            "labels": names.labels(template.owner, submit.job_id),
        },
        "spec": {"spec": {"devices": {"requests": [{"name": _CLAIM, "exactly": request}]}}},
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
    name = f"{names.base_name(submit.job_id)}-{group}"
    marks = {**names.labels(template.owner, submit.job_id), names.GROUP: group}
    notes = {
        names.JOB_ID: submit.job_id,
        names.ROLES: names.roles_text(submit),
        names.BASE: str(base),
    }
    queue = template.queue_of(submit)
    limits = submit.timeouts
    metadata: Object = {
        "name": name,
        "namespace": template.namespace,
        "labels": marks | ({names.QUEUE: queue} if queue else {}),
        "annotations": notes,
    }
    if owner_uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "name": names.base_name(submit.job_id),
                "uid": owner_uid,
            }
        ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            "parallelism": completions,
            "backoffLimitPerIndex": _RECOVERIES,
            "maxFailedIndexes": completions,
            "podReplacementPolicy": "Failed",
            # A disruption is nobody's failure; what else ended a pod is judged by us.
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                ]
            },
            # Should nobody be there to end it.
            "activeDeadlineSeconds": int(limits.start_s + limits.run_s + _SLACK_S),
            "suspend": bool(queue),
            "template": {
                "metadata": {
                    "labels": marks,
                    "annotations": notes,
                },
                "spec": _pod(template, submit, group),
            },
        },
    }


def _role(submit: JobSubmit, group: str) -> Role:
    """The role of a group; of a queued cluster the first, since all roles ask for the same."""
    roles = submit.roles()
    return next((role for role in roles if str(role) == group), next(iter(roles)))


def _resources(submit: JobSubmit, group: str) -> Resources:
    return submit.resources_of(_role(submit, group))


def _pod(template: Template, submit: JobSubmit, group: str) -> Object:
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
            _ours(template, names.FETCH, "fetch", group),
            _ours(template, names.LAUNCHER, "pod", group) | {"restartPolicy": "Always"},
        ],
        "containers": [_program(template, submit, group)],
        "volumes": [
            {"name": "exchange", "emptyDir": {"sizeLimit": _EXCHANGE}},
            {"name": "work", "emptyDir": {"sizeLimit": template.storage}},
            {"name": "checkpoints", "emptyDir": {"sizeLimit": template.storage}},
            {"name": "private", "emptyDir": {"sizeLimit": template.storage}},
            {
                "name": "job",
                "secret": {"secretName": names.base_name(submit.job_id), "defaultMode": 0o440},
            },
            *mounts.volumes(submit, _role(submit, group)),
        ],
        "tolerations": [
            *({**each} for each in template.tolerations),
            *_patience(template.node_loss_s),
        ],
    }
    priority = submit.priority_class or template.priority_class
    optional: Object = {
        "priorityClassName": priority,
        "hostNetwork": submit.host_network,
        "dnsPolicy": "ClusterFirstWithHostNet" if submit.host_network else "",
        "nodeSelector": _selector(template, submit, group),
        "affinity": _affinity(submit),
        "topologySpreadConstraints": _spread(submit),
        "schedulingGates": (
            [{"name": names.GATE}] if gated and not template.queue_of(submit) else []
        ),
        "resourceClaims": _claims(template, submit, group),
        "imagePullSecrets": [{"name": name} for name in submit.image_pull_secrets],
    }
    return spec | {name: value for name, value in optional.items() if value}


def _patience(seconds: int) -> list[Object]:
    """How long a node may be away before its pods are given up."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": seconds,
        }
        for taint in ("not-ready", "unreachable")
    ]


def _selector(template: Template, submit: JobSubmit, group: str) -> dict[str, str]:
    model = _resources(submit, group).gpu_model
    return dict(template.node_selector) | ({"nvidia.com/gpu.product": model} if model else {})


def _affinity(submit: JobSubmit) -> Object:
    if submit.placement != "together":
        return {}
    term = {
        "labelSelector": {"matchLabels": {names.JOB: names.digest(submit.job_id)}},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _spread(submit: JobSubmit) -> list[Object]:
    if submit.placement != "spread":
        return []
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {names.JOB: names.digest(submit.job_id)}},
        }
    ]


def _claims(template: Template, submit: JobSubmit, group: str) -> list[Object]:
    wanted = claim_template(template, submit, group)
    if wanted is None:
        return []
    return [{"name": _CLAIM, "resourceClaimTemplateName": wanted["metadata"]["name"]}]


def _ours(template: Template, name: str, way: str, group: str) -> Object:
    """A container of ours, from the task service's image."""
    return {
        "name": name,
        "image": template.launcher_image,
        "imagePullPolicy": template.pull_policy,
        # -P and no user site: nothing is ever imported from a directory that is written to.
        "command": ["python3", "-P", "-m", "services.task.launcher", way],
        "workingDir": str(PodPlaces.PRIVATE),
        "env": [
            {"name": "HOME", "value": str(PodPlaces.PRIVATE)},
            {"name": "TMPDIR", "value": str(PodPlaces.PRIVATE)},
            {"name": "PYTHONNOUSERSITE", "value": "1"},
            {"name": "BAROGRAPH_GROUP", "value": group},
            _told("BAROGRAPH_ROLES", f"metadata.annotations['{names.ROLES}']"),
            _told("BAROGRAPH_INDEX", f"metadata.annotations['{names.INDEX}']"),
            _told("BAROGRAPH_BASE", f"metadata.annotations['{names.BASE}']"),
            _told("BAROGRAPH_FAILED", f"metadata.annotations['{names.FAILED}']"),
            _told("BAROGRAPH_IGNORED", f"metadata.annotations['{names.IGNORED}']"),
            _told("BAROGRAPH_HOST", "status.podIP"),
            _told("BAROGRAPH_POD", "metadata.name"),
            _told("BAROGRAPH_NODE", "spec.nodeName"),
        ],
        "resources": _OURS,
        "securityContext": _confined(read_only=True),
        "volumeMounts": [
            {"name": "exchange", "mountPath": str(PodPlaces.EXCHANGE)},
            {"name": "work", "mountPath": str(PodPlaces.WORK)},
            {"name": "checkpoints", "mountPath": str(PodPlaces.CHECKPOINTS)},
            {"name": "private", "mountPath": str(PodPlaces.PRIVATE)},
            {"name": "job", "mountPath": str(PodPlaces.SPEC), "readOnly": True},
        ],
    }


def _told(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _program(template: Template, submit: JobSubmit, group: str) -> Object:
    """The user's container: the image as it is, with no credential but what the job names."""
    asked = _resources(submit, group)
    amounts = {"cpu": f"{asked.cpu:g}", "memory": asked.memory}
    if asked.gpu and not asked.device_class:
        amounts[asked.gpu_resource] = str(asked.gpu)
    resources: Object = {
        "requests": amounts | {"ephemeral-storage": _STORAGE_REQUEST},
        "limits": amounts | {"ephemeral-storage": template.storage},
    }
    if asked.gpu and asked.device_class:
        resources["claims"] = [{"name": _CLAIM}]
    exchange = str(PodPlaces.EXCHANGE)
    env_from = mounts.env_from(submit)
    return {
        "name": names.PROGRAM,
        "image": submit.image_of(_role(submit, group)) or template.program_image,
        "imagePullPolicy": template.pull_policy,
        "command": ["python3", f"{exchange}/program.py", exchange],
        "workingDir": str(PodPlaces.WORK),
        "resources": resources,
        "securityContext": _confined(read_only=False),
        "volumeMounts": [
            {"name": "exchange", "mountPath": exchange},
            {"name": "work", "mountPath": str(PodPlaces.WORK)},
            {"name": "checkpoints", "mountPath": str(PodPlaces.CHECKPOINTS)},
            *mounts.mounts(submit, _role(submit, group)),
        ],
        **({"envFrom": env_from} if env_from else {}),
    }


def _confined(*, read_only: bool) -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    }
