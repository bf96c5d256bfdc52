"""The containers of a member's pod: fetch, launcher, program, and the job's own; pure."""

from __future__ import annotations

from services.task.runtimes.kubernetes import mounts, names
from services.task.runtimes.kubernetes.template import Template
from services.task.spec import TRUST_FILE, PodPlaces
from shared import trust
from shared.cluster import Object
from shared.contracts import Container, JobSubmit, Role

CLAIM = "gpu"
_OURS = {
    "requests": {"cpu": "50m", "memory": "96Mi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "512Mi", "ephemeral-storage": "1Gi"},
}
_STORAGE_REQUEST = "256Mi"
"""Programs share the node's disk as they need it; the limit ends one that takes it all."""


def ours(template: Template, submit: JobSubmit, name: str, way: str, group: str) -> Object:
    """A container of ours, from the task service's image."""
    return {
        "name": name,
        "image": template.launcher_image,
        "imagePullPolicy": template.pull_policy,
        # -P and no user site: nothing is ever imported from a directory that is written to.
        "command": ["python3", "-P", "-m", "services.task.launcher", way],
        "workingDir": str(PodPlaces.PRIVATE),
        "env": [*_variables(submit, group), *_trusting(template)],
        "resources": _OURS,
        "securityContext": _confined(read_only=True),
        "volumeMounts": _mounts(template),
    }


def _variables(submit: JobSubmit, group: str) -> list[Object]:
    return [
        {"name": "HOME", "value": str(PodPlaces.PRIVATE)},
        {"name": "TMPDIR", "value": str(PodPlaces.PRIVATE)},
        {"name": "PYTHONNOUSERSITE", "value": "1"},
        {"name": "BAROGRAPH_GROUP", "value": group},
        _from_field("BAROGRAPH_ROLES", f"metadata.annotations['{names.ROLES}']"),
        _from_field(names.INDEX_VARIABLE, f"metadata.annotations['{names.INDEX}']"),
        _from_field("BAROGRAPH_BASE", f"metadata.annotations['{names.BASE}']"),
        _from_field("BAROGRAPH_FAILED", f"metadata.annotations['{names.FAILED}']"),
        _from_field("BAROGRAPH_IGNORED", f"metadata.annotations['{names.IGNORED}']"),
        (
            {"name": "BAROGRAPH_HOST", "value": names.host(submit, group)}
            if submit.elastic
            else _from_field("BAROGRAPH_HOST", "status.podIP")
        ),
        _from_field("BAROGRAPH_POD", "metadata.name"),
        _from_field("BAROGRAPH_NODE", "spec.nodeName"),
    ]


def _mounts(template: Template) -> list[Object]:
    trust: Object = {"name": "trust", "mountPath": str(PodPlaces.TRUST), "readOnly": True}
    return [
        {"name": "exchange", "mountPath": str(PodPlaces.EXCHANGE)},
        {"name": "work", "mountPath": str(PodPlaces.WORK)},
        {"name": "checkpoints", "mountPath": str(PodPlaces.CHECKPOINTS)},
        {"name": "private", "mountPath": str(PodPlaces.PRIVATE)},
        {"name": "job", "mountPath": str(PodPlaces.SPEC), "readOnly": True},
        *([trust] if template.trust else []),
    ]


def _trusting(template: Template) -> list[Object]:
    file = str(PodPlaces.TRUST / TRUST_FILE)
    return [{"name": trust.VARIABLE, "value": file}] if template.trust else []


def _from_field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def program(template: Template, submit: JobSubmit, role: Role) -> Object:
    """The user's container: the image as it is, with no credential but what the job names."""
    asked = submit.resources_of(role)
    amounts = {"cpu": f"{asked.cpu:g}", "memory": asked.memory}
    if asked.gpu and not asked.device_class:
        amounts[asked.gpu_resource] = str(asked.gpu)
    resources: Object = {
        "requests": amounts | {"ephemeral-storage": asked.storage or _STORAGE_REQUEST},
        "limits": amounts | {"ephemeral-storage": asked.storage or template.storage},
    }
    if asked.gpu and asked.device_class:
        resources["claims"] = [{"name": CLAIM}]
    exchange = str(PodPlaces.EXCHANGE)
    variables = {
        "env": mounts.env(submit.env_value_from_of(role)),
        "envFrom": mounts.env_from(submit.env_from_of(role)),
    }
    return {
        "name": names.PROGRAM,
        "image": submit.image_of(role) or template.program_image,
        "imagePullPolicy": template.pull_policy,
        "command": ["python3", f"{exchange}/program.py", exchange],
        "workingDir": str(PodPlaces.WORK),
        "resources": resources,
        "securityContext": _confined(read_only=False),
        "volumeMounts": [
            {"name": "exchange", "mountPath": exchange},
            {"name": "work", "mountPath": str(PodPlaces.WORK)},
            {"name": "checkpoints", "mountPath": str(PodPlaces.CHECKPOINTS)},
            *mounts.mounts(submit, role),
        ],
        **{name: value for name, value in variables.items() if value},
    }


def own(template: Template, submit: JobSubmit, role: Role, asked: Container) -> Object:
    """A container of the job's own: confined and bounded as the program's."""
    amounts = {"cpu": f"{asked.cpu:g}", "memory": asked.memory, "ephemeral-storage": asked.storage}
    optional: Object = {
        "restartPolicy": "Always" if asked.kind == "sidecar" else None,
        "command": list(asked.command),
        "args": list(asked.args),
        "workingDir": asked.working_dir,
        "env": [
            *mounts.env(asked.env_value_from),
            *({"name": name, "value": value} for name, value in asked.env.items()),
        ],
        "envFrom": mounts.env_from(asked.env_from),
        "volumeMounts": mounts.of_container(submit, role, asked),
    }
    return {
        "name": asked.name,
        "image": asked.image or submit.image_of(role) or template.program_image,
        "imagePullPolicy": template.pull_policy,
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": _confined(read_only=False),
        **{name: value for name, value in optional.items() if value},
    }


def _confined(*, read_only: bool) -> Object:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    }
