"""The placement of a job's pods within what the installation allows; pure."""

from __future__ import annotations

from services.task.runtimes.kubernetes import names
from services.task.runtimes.kubernetes.template import Template
from shared.cluster import Object
from shared.contracts import JobSubmit, NodeTerm, Role, Toleration

_HOST = "kubernetes.io/hostname"


def placing(template: Template, submit: JobSubmit, role: Role) -> Object:
    """The fields of a pod's spec that say where it runs, and by which runtime."""
    own = submit.scheduling_of(role)
    return {
        "nodeSelector": selector(template, submit, role),
        "affinity": _affinity(submit, role),
        "topologySpreadConstraints": _spread(submit, role),
        "runtimeClassName": own.runtime_class,
        "tolerations": [
            *({**each} for each in template.tolerations),
            *(_toleration(each) for each in own.tolerations),
            *_patience(template.node_loss_s),
        ],
    }


def selector(template: Template, submit: JobSubmit, role: Role) -> dict[str, str]:
    """The labels that the nodes of this role must have; the installation's are not the job's."""
    model = submit.resources_of(role).gpu_model
    wanted = {"nvidia.com/gpu.product": model} if model else {}
    return {**submit.scheduling_of(role).node_selector, **wanted, **template.node_selector}


def terms(submit: JobSubmit, role: Role) -> list[Object]:
    """The required node affinity of this role, as the API has it."""
    return [_term(each) for each in submit.scheduling_of(role).node_terms]


def _patience(seconds: int) -> list[Object]:
    """Return how long a node may be away before its pods are given up."""
    return [
        {
            "key": f"node.kubernetes.io/{taint}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": seconds,
        }
        for taint in ("not-ready", "unreachable")
    ]


def _toleration(asked: Toleration) -> Object:
    optional = {
        "value": asked.value,
        "effect": asked.effect,
        "tolerationSeconds": asked.seconds,
    }
    given = {name: value for name, value in optional.items() if value not in (None, "")}
    return {"key": asked.key, "operator": asked.operator, **given}


def _term(term: NodeTerm) -> Object:
    return {
        "matchExpressions": [
            {"key": each.key, "operator": each.operator}
            | ({"values": list(each.values)} if each.values else {})
            for each in term.expressions
        ]
    }


def _affinity(submit: JobSubmit, role: Role) -> Object:
    found: Object = {}
    nodes: Object = {}
    if required := terms(submit, role):
        nodes["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": required}
    if preferred := submit.scheduling_of(role).preferred_nodes:
        nodes["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": each.weight, "preference": _term(each)} for each in preferred
        ]
    if nodes:
        found["nodeAffinity"] = nodes
    if submit.placement == "together":
        term = {"labelSelector": _members(submit), "topologyKey": _HOST}
        near = [{"weight": 100, "podAffinityTerm": term}]
        found["podAffinity"] = {"preferredDuringSchedulingIgnoredDuringExecution": near}
    return found


def _spread(submit: JobSubmit, role: Role) -> list[Object]:
    found: list[Object] = []
    if submit.placement == "spread":
        found.append(
            {
                "maxSkew": 1,
                "topologyKey": _HOST,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": _members(submit),
            }
        )
    for each in submit.scheduling_of(role).topology_spread:
        constraint = {
            "maxSkew": each.max_skew,
            "topologyKey": each.topology_key,
            "whenUnsatisfiable": each.when_unsatisfiable,
            "labelSelector": _members(submit),
        }
        if each.min_domains is not None:
            constraint["minDomains"] = each.min_domains
        found.append(constraint)
    return found


def _members(submit: JobSubmit) -> Object:
    return {"matchLabels": {names.JOB: names.digest(submit.job_id)}}
