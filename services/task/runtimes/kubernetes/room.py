"""Checks whether a job could ever fit the nodes; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.task.runtimes.kubernetes.placing import selector, terms
from services.task.runtimes.kubernetes.template import Template
from shared.cluster import Object
from shared.contracts import Fault, JobSubmit, Role, memory_bytes

_SUFFIX = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
_SIDE_CPU, _SIDE_MEMORY = 0.05, 96 * 2**20
"""The requests of the launcher's container beside the program's."""
_SLACK = 1e-9
_BYTES = {"memory", "ephemeral-storage"}
_GPU_MODEL = "nvidia.com/gpu.product"


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number."""
    for suffix in sorted(_SUFFIX, key=len, reverse=True):
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * _SUFFIX[suffix]
    return float(text)


def keep(node: Object) -> Object:
    """The fields of a node that are used."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    return {
        "metadata": {
            "name": meta["name"],
            "resourceVersion": meta["resourceVersion"],
            "labels": meta.get("labels") or {},
        },
        "spec": {"taints": spec.get("taints") or [], "unschedulable": spec.get("unschedulable")},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "ready": any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in status.get("conditions") or []
            ),
        },
    }


@dataclass(frozen=True)
class Need:
    """The resources that one pod requests of its node."""

    amounts: Mapping[str, float]
    labels: Mapping[str, str]
    terms: Sequence[Object] = ()
    """The required node affinity: a node fits one of them."""

    @classmethod
    def of_pod(cls, pod: Object) -> Need:
        """The requests of a pod, all its containers together."""
        amounts: dict[str, float] = {}
        for requests in pod["spec"]["requests"]:
            for name, amount in requests.items():
                amounts[name] = amounts.get(name, 0.0) + quantity(str(amount))
        return cls(amounts, pod["spec"]["nodeSelector"], pod["spec"]["nodeTerms"])

    @classmethod
    def of(cls, template: Template, submit: JobSubmit, role: Role) -> Need:
        """The requests that a member of this role will make."""
        asked = submit.resources_of(role)
        amounts = {
            "cpu": submit.cpu_of(role) + _SIDE_CPU,
            "memory": float(submit.memory_of(role) + _SIDE_MEMORY),
        }
        if asked.gpu and not asked.device_class:
            amounts[asked.gpu_resource] = float(asked.gpu)
        if asked.storage:
            amounts["ephemeral-storage"] = float(memory_bytes(asked.storage))
        return cls(amounts, selector(template, submit, role), terms(submit, role))

    def admits(self, labels: Mapping[str, str]) -> bool:
        """Return whether a node with these labels may take it."""
        if any(labels.get(name) != value for name, value in self.labels.items()):
            return False
        return not self.terms or any(_fits_term(each, labels) for each in self.terms)


def _fits_term(term: Object, labels: Mapping[str, str]) -> bool:
    return all(_holds_of(each, labels) for each in term.get("matchExpressions") or [])


def _holds_of(expression: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a node's labels meet an affinity expression, as Kubernetes evaluates it."""
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in values
        case "NotIn":
            return value not in values
    if value is None or not value.isdecimal():
        return False
    bound = int(values[0])
    return int(value) > bound if expression["operator"] == "Gt" else int(value) < bound


def faults(submit: JobSubmit, nodes: Sequence[Object], template: Template) -> tuple[Fault, ...]:
    """Requests no node could hold were it empty; none when no node is known."""
    if not nodes:
        return ()
    found: dict[tuple[str, str], Fault] = {}
    for role in submit.roles():
        own = role in submit.role_resources
        where = f"role_resources.{role}" if own else "resources"
        for field, problem in _misfits(Need.of(template, submit, role), nodes):
            place = f"{where}.{field}" if field else _scheduling(submit, role)
            found[where, field] = Fault(field=place, problem=problem)
    return tuple(found.values())


def _scheduling(submit: JobSubmit, role: Role) -> str:
    return f"role_scheduling.{role}" if role in submit.role_scheduling else "scheduling"


def _misfits(need: Need, nodes: Sequence[Object]) -> Iterator[tuple[str, str]]:
    matching = [node for node in nodes if need.admits(node["metadata"]["labels"])]
    if not matching:
        wanted = ", ".join(f"{name}={value}" for name, value in need.labels.items())
        lacking = [f"is labelled {wanted}"] if wanted else []
        lacking += ["fits one of scheduling.node_terms"] if need.terms else []
        yield "gpu_model" if _GPU_MODEL in need.labels else "", f"no node {' and '.join(lacking)}"
        return
    if any(_holds(node, need) for node in matching):
        return
    alone = False
    for name, amount in need.amounts.items():
        largest = max(matching, key=lambda node: _has(node, name))
        if _has(largest, name) + _SLACK < amount:
            alone = True
            yield _field(name), _too_much(name, amount, largest)
    if not alone:
        asked = ", ".join(f"{_said(n, a)} {n}" for n, a in need.amounts.items())
        yield "cpu", f"no single node has all of: {asked}"


def _field(name: str) -> str:
    return {"ephemeral-storage": "storage"}.get(name, name if name in {"cpu", "memory"} else "gpu")


def _too_much(name: str, amount: float, largest: Object) -> str:
    has = _has(largest, name)
    if not has:
        return f"{_said(name, amount)} {name} are requested; no node has any"
    where = largest["metadata"]["name"]
    return (
        f"{_said(name, amount)} {name} are needed, the launcher's included;"
        f" the largest node has {_said(name, has)} ({where})"
    )


def _said(name: str, amount: float) -> str:
    return f"{amount / 2**20:.0f}Mi" if name in _BYTES else f"{amount:g}"


def _has(node: Object, name: str) -> float:
    return quantity(str(node["status"]["allocatable"].get(name, "0")))


def _holds(node: Object, need: Need) -> bool:
    return all(_has(node, name) + _SLACK >= amount for name, amount in need.amounts.items())


@dataclass
class Free:
    """Free capacity of the nodes after our own pods, into which gangs are packed."""

    rooms: dict[str, dict[str, float]]
    labels: dict[str, Mapping[str, str]]

    @classmethod
    def of(cls, nodes: Sequence[Object], used: Sequence[tuple[str, Need]]) -> Free:
        """``used`` are the needs of our pods by node."""
        usable = [n for n in nodes if n["status"]["ready"] and not n["spec"]["unschedulable"]]
        rooms = {
            n["metadata"]["name"]: {
                name: quantity(str(amount)) for name, amount in n["status"]["allocatable"].items()
            }
            for n in usable
        }
        free = cls(rooms, {n["metadata"]["name"]: n["metadata"]["labels"] for n in usable})
        for node, need in used:
            if node in rooms:
                free.take(node, need)
        return free

    def take(self, node: str, need: Need) -> None:
        room = self.rooms[node]
        for name, amount in need.amounts.items():
            room[name] = room.get(name, 0.0) - amount
        room["pods"] = room.get("pods", 0.0) - 1

    def pack(self, needs: Sequence[Need]) -> bool:
        """Take room for all of them, or for none; largest first into the fullest that holds it."""
        before = {name: dict(room) for name, room in self.rooms.items()}
        for need in sorted(needs, key=lambda n: tuple(n.amounts.values()), reverse=True):
            fitting = [name for name in self.rooms if self._fits(name, need)]
            if not fitting:
                self.rooms = before
                return False
            self.take(min(fitting, key=lambda name: self.rooms[name].get("cpu", 0.0)), need)
        return True

    def _fits(self, node: str, need: Need) -> bool:
        room, labels = self.rooms[node], self.labels[node]
        return (
            need.admits(labels)
            and room.get("pods", 0.0) >= 1
            and all(room.get(n, 0.0) + _SLACK >= amount for n, amount in need.amounts.items())
        )
