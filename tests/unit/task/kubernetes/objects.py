"""Jobs, and Kubernetes objects as an API server would tell them; as little of each as matters."""

from __future__ import annotations

from typing import Any

from services.task.runtimes.kubernetes import names, pods, room
from services.task.runtimes.kubernetes.template import Template
from shared.cluster import Object
from shared.contracts import JobSubmit

TEMPLATE = Template(
    namespace="jobs", owner="barograph", launcher_image="ours:1", program_image="tensorflow:2"
)


def submit(**fields: Any) -> JobSubmit:
    """A single job, or what the fields make of it."""
    values = {"job_id": "mnist.1", "name": "mnist", "package": "bucket:p:a.tar.gz", "main": "m.py"}
    return JobSubmit.model_validate(values | fields)


def cluster(**fields: Any) -> JobSubmit:
    """A chief, a parameter server and two workers."""
    return submit(**{"type": "distribute", "chief": True, "ps": 1, "workers": 2, **fields})


def pod(
    name: str = "worker-0",
    *,
    node: str = "",
    gates: bool = False,
    cpu: str = "1",
    phase: str = "Pending",
    annotations: dict[str, str] | None = None,
    deleted: str | None = None,
    grace_s: int | None = None,
    namespace: str = "jobs",
    **status: Any,
) -> Object:
    """A member's pod, as the mirrors keep it."""
    role, _, index = name.rpartition("-")
    notes = {names.JOB_ID: "j", names.ROLES: "ps=1,worker=2", names.INDEX: index}
    return pods.keep(
        {
            "metadata": {
                "namespace": namespace,
                "name": f"j-{name}",
                "uid": f"uid-{name}",
                "resourceVersion": "1",
                "labels": {names.GROUP: role},
                "annotations": notes | (annotations or {}),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": deleted,
                "deletionGracePeriodSeconds": grace_s,
            },
            "spec": {
                "nodeName": node,
                "schedulingGates": [{"name": names.GATE}] if gates else [],
                "containers": [{"resources": {"requests": {"cpu": cpu}}}],
            },
            "status": {"phase": phase, **status},
        }
    )


def ended(
    code: int, container: str = names.PROGRAM, phase: str = "Failed", **terminated: Any
) -> dict[str, Any]:
    """Status of a pod one container of which has ended."""
    field = "containerStatuses" if container == names.PROGRAM else "initContainerStatuses"
    state = {"terminated": {"exitCode": code, **terminated}}
    return {"phase": phase, field: [{"name": container, "state": state}]}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    """Status of a pod whose program waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": names.PROGRAM, "state": state}]}


def disrupted(reason: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    return {"phase": "Failed", "conditions": [condition | {"message": message}]}


def node(name: str = "n0", *, ready: bool = True, **amounts: str) -> Object:
    """A node, as the mirror keeps it."""
    size = {"cpu": "4", "memory": "16Gi", "pods": "110"} | {
        key.replace("gpu", "nvidia.com/gpu"): value for key, value in amounts.items()
    }
    return room.keep(
        {
            "metadata": {"name": name, "resourceVersion": "1", "labels": {"pool": name[0]}},
            "status": {
                "allocatable": size,
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        }
    )


def job(uid: str = "uid-job", *, queue: str = "", completions: int = 2, active: int = 0) -> Object:
    """A Job, as the mirror keeps it."""
    return {
        "metadata": {"name": "j", "uid": uid, "labels": {names.QUEUE: queue} if queue else {}},
        "spec": {"completions": completions, "suspend": bool(queue)},
        "status": {"active": active},
    }


def warning(about: str, reason: str, message: str) -> Object:
    return {"involvedObject": {"uid": about}, "reason": reason, "message": message, "at": "1"}
