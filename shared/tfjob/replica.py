"""One entry of tfReplicaSpecs: its pods' one container, and all that is said around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from shared.contracts import is_reserved_variable
from shared.tfjob import advice, storage
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.quantities import amount, memory

_CONTAINER = "tensorflow"
_GPU_LABEL = "nvidia.com/gpu.product"
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_PROGRAM = re.compile(r"(^|/)(python[0-9.]*|bash|sh)$")
_RESTARTS = {
    "Always": "members lost to the infrastructure are replaced, a crash once; a program's own"
    " error ends the job",
    "OnFailure": "members lost to the infrastructure are replaced, a crash once; a program's own"
    " error ends the job",
    "ExitCode": "as here: a program's own exit code ends the job, a signal from outside does not",
    "Never": "no member is replaced",
}


@dataclass
class Replica:
    """What one entry of tfReplicaSpecs says."""

    path: str
    replicas: int = 1
    restart: str = ""
    image: str = ""
    argv: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    env: list[tuple[str, str]] = field(default_factory=list)
    """In the file's order: a value may refer to variables before it."""
    cwd: str = ""
    resources: dict[str, Any] = field(default_factory=dict)
    host_network: bool = False
    priority: str = ""
    volumes: list[dict[str, Any]] = field(default_factory=list)
    env_from: list[dict[str, str]] = field(default_factory=list)
    pull_secrets: list[str] = field(default_factory=list)


def replica(branch: Branch, findings: Findings, own_code: bool) -> Replica:
    """Read one entry; ``own_code`` when its command is not to be run."""
    found = Replica(branch.path)
    number = branch.take("replicas", int)
    found.replicas = 1 if number is None else number
    if found.replicas < 0:
        findings.fault(branch.at("replicas"), "must not be negative")
    found.restart = branch.take("restartPolicy", str) or ""
    if found.restart:
        if found.restart in _RESTARTS:
            text = f"{found.restart}: {_RESTARTS[found.restart]}"
            findings.note(branch.at("restartPolicy"), text)
        else:
            findings.fault(branch.at("restartPolicy"), f"must be one of {', '.join(_RESTARTS)}")
    template = branch.branch("template")
    template.branch("metadata").close(harmless=advice.TEMPLATE_METADATA)
    pod = template.branch("spec")
    found.host_network = bool(pod.take("hostNetwork", bool))
    found.priority = pod.take("priorityClassName", str) or ""
    selector = pod.branch("nodeSelector")
    model = selector.take(_GPU_LABEL, str)
    selector.close(
        dict.fromkeys(
            selector.keys(),
            "nodes are chosen by the installation's setting BAROGRAPH_TASK_NODE_SELECTOR",
        )
    )
    containers = pod.branches("containers")
    sources = storage.sources(pod, findings)
    found.pull_secrets = storage.names(pod, "imagePullSecrets", findings)
    pod.close(advice.POD, advice.POD_HARMLESS)
    template.close()
    branch.close()
    _containers(containers, found, findings, own_code, sources)
    if model:
        found.resources["gpu_model"] = model
    return found


def _containers(
    containers: list[Branch],
    replica: Replica,
    findings: Findings,
    own_code: bool,
    sources: dict[str, dict[str, Any]],
) -> None:
    named = [each for each in containers if each.take("name", str) == _CONTAINER]
    for each in containers:
        if each not in named[:1]:
            findings.unsupported(
                each.path, "not supported; one container, named tensorflow, is run"
            )
    if not named:
        path = f"{replica.path}.template.spec.containers"
        findings.fault(path, "needs a container with the name tensorflow")
        return
    ours = named[0]
    replica.image = ours.take("image", str) or ""
    replica.cwd = ours.take("workingDir", str) or ""
    _command(ours, replica, findings, own_code)
    for variable in ours.branches("env"):
        _variable(variable, replica, findings)
    replica.volumes = storage.mounts(ours, sources, findings)
    replica.env_from = storage.env_from(ours, findings)
    replica.resources = _resources(ours.branch("resources"), findings)
    if not replica.resources:
        findings.note(ours.at("resources"), "none are given: each container gets 1 core, 2048Mi")
    ours.close(advice.CONTAINER, advice.CONTAINER_HARMLESS)


def _command(ours: Branch, replica: Replica, findings: Findings, own_code: bool) -> None:
    command, args = _words(ours, "command", findings), _words(ours, "args", findings)
    if own_code:
        replica.args = args
        if command:
            findings.note(ours.at("command"), "left out: the folder's main program runs instead")
        return
    if not command and args and _PROGRAM.search(args[0]):
        text = "args begin with a program and are run as the command"
        findings.note(ours.at("args"), text)
    elif not command:
        text = (
            "is missing; name the program, for an image's own entry point is not known here, or"
            " bring the code: tshell submit FOLDER -f FILE"
        )
        findings.missing(ours.at("command"), text)
    replica.argv = [*command, *args]
    if replica.argv and not replica.argv[0]:
        findings.fault(ours.at("command"), "begins with an empty word; name the program")
    relative = [w for w in replica.argv if w.endswith(".py") and not w.startswith("/")]
    if relative and not replica.cwd:
        text = f"{relative[0]} is looked for in the package: give workingDir or a whole path"
        findings.note(ours.at("command"), text)


def _variable(variable: Branch, replica: Replica, findings: Findings) -> None:
    name, value = variable.take("name", str), variable.any("value")
    source = variable.any("valueFrom")
    if name is None or not _NAME.match(name):
        findings.fault(variable.at("name"), "must be the name of a variable")
    elif is_reserved_variable(name):
        findings.unsupported(
            variable.path, f"{name} is reserved for the platform, which makes it for each member"
        )
    elif not isinstance(value, str | None):
        findings.fault(variable.at("value"), "must be a string; put it in quotes")
    elif source is not None:
        findings.unsupported(variable.at("valueFrom"), advice.VALUE_FROM)
    else:
        replica.env.append((name, value or ""))
    variable.close()


def _words(branch: Branch, key: str, findings: Findings) -> list[str]:
    words = branch.take(key, list) or []
    if any(not isinstance(word, str) for word in words):
        findings.fault(branch.at(key), "every word must be a string; put it in quotes")
    return [str(word) for word in words]


def _resources(branch: Branch, findings: Findings) -> dict[str, Any]:
    """Limits, or requests where there are none: a container here has one figure of each."""
    requests, limits = branch.branch("requests"), branch.branch("limits")
    found: dict[str, Any] = {}
    for name in dict.fromkeys([*limits.keys(), *requests.keys()]):
        limit, request = limits.any(name), requests.any(name)
        value = request if limit is None else limit
        if None not in (limit, request) and str(limit) != str(request):
            text = f"one figure for request and limit: the limit {limit} is taken"
            findings.note(requests.at(name), text)
        here = (limits if limit is not None else requests).at(name)
        try:
            if name == "cpu":
                found["cpu"] = float(amount(value))
            elif name == "memory":
                found["memory"] = memory(value)
            elif "/" in name and "gpu_resource" not in found:
                found |= {"gpu": _whole(value), "gpu_resource": name}
            else:
                findings.unsupported(here, "not supported; cpu, memory and one kind of GPU are")
        except ValueError as error:
            findings.fault(here, str(error))
    branch.close(instead=advice.RESOURCES)
    return found


def _whole(quantity: object) -> int:
    number = amount(quantity)
    if number != int(number):
        raise ValueError(f"{quantity!r} is not a whole number")
    return int(number)
