"""One entry of tfReplicaSpecs: its container and the fields around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.contracts import is_reserved_variable
from shared.contracts.job_parts import EnvironmentName
from shared.tfjob import advice, containers, scheduling, storage
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.quantities import AMOUNTS, amount, is_zero

_CONTAINER = "tensorflow"
_USUAL_ACCOUNT = "default"
_NO_ACCOUNT = {None, "", _USUAL_ACCOUNT}
_NAME: TypeAdapter[str] = TypeAdapter(EnvironmentName)
_PROGRAM = re.compile(r"(^|/)(python[0-9.]*|bash|sh)$")
_TWO_WORDS = re.compile(r"--[\w-]+ \S")
_IN_ONE_WORD = re.compile(r"\S*(python[0-9.]*|bash|sh)\s+\S")
"""A program and its arguments without a comma between them: no file has such a name."""
_GPU = re.compile(r"gpu|/(mig-|npu)|tpu|habana")
"""The words in the name of a resource that is an accelerator."""
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
    """The contents of one entry of tfReplicaSpecs."""

    path: str
    replicas: int = 1
    restart: str = ""
    image: str = ""
    argv: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    env: list[tuple[str, str | None]] = field(default_factory=list)
    """Variables in the file's order: one may refer to those before it; None: Kubernetes sets it."""
    cwd: str = ""
    resources: dict[str, Any] = field(default_factory=dict)
    host_network: bool = False
    priority: str = ""
    volumes: list[dict[str, Any]] = field(default_factory=list)
    env_from: list[dict[str, Any]] = field(default_factory=list)
    env_value_from: list[dict[str, Any]] = field(default_factory=list)
    containers: list[dict[str, Any]] = field(default_factory=list)
    scheduling: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
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
    found.scheduling, model = scheduling.scheduling(pod, findings)
    found.account = _account(pod, findings)
    containers.security_context(pod, findings)
    found.pull_secrets = storage.names(pod, "imagePullSecrets", findings)
    _containers(pod, found, findings, own_code)
    pod.close(advice.POD, advice.POD_HARMLESS)
    template.close()
    branch.close()
    if model:
        found.resources["gpu_model"] = model
    return found


def _account(pod: Branch, findings: Findings) -> dict[str, Any]:
    """The service account; a pod that names one has its token unless it says otherwise."""
    name = pod.take("serviceAccountName", str)
    old, token = pod.take("serviceAccount", str), pod.take("automountServiceAccountToken", bool)
    asked = name or old
    if asked == _USUAL_ACCOUNT:
        findings.note(pod.at("serviceAccountName"), advice.USUAL_ACCOUNT)
    return {"name": asked, "token": token is not False} if asked not in _NO_ACCOUNT else {}


def _containers(pod: Branch, replica: Replica, findings: Findings, own_code: bool) -> None:
    sources = storage.sources(pod, findings)
    found, inits = pod.branches("containers"), pod.branches("initContainers")
    named = [each for each in found if each.peek("name") == _CONTAINER]
    if not named:
        path = f"{replica.path}.template.spec.containers"
        findings.fault(path, "needs a container with the name tensorflow")
        return
    ours, others = named[0], [each for each in found if each is not named[0]]
    ours.take("name", str)
    replica.image = ours.take("image", str) or ""
    replica.cwd = ours.take("workingDir", str) or ""
    if replica.cwd and not replica.cwd.startswith("/"):
        findings.fault(ours.at("workingDir"), "must be a whole path, from / on")
    _command(ours, replica, findings, own_code)
    for variable in ours.branches("env"):
        _variable(variable, replica, findings)
    containers.security_context(ours, findings)
    mounts = storage.mounts(ours, sources, findings)
    replica.containers = containers.beside(inits, others, sources, findings)
    replica.volumes = storage.volumes(mounts, replica.containers, sources)
    replica.env_from = storage.env_from(ours, findings)
    replica.resources = _resources(ours.branch("resources"), findings)
    if not replica.resources:
        findings.note(ours.at("resources"), "none are given: each container gets 1 core, 2048Mi")
    ours.close(advice.CONTAINER, advice.CONTAINER_HARMLESS)


def _command(ours: Branch, replica: Replica, findings: Findings, own_code: bool) -> None:
    command, args = (containers.words(ours, key, findings) for key in ("command", "args"))
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
    if command and _IN_ONE_WORD.match(command[0]):
        text = f"{command[0][:60]!r} is one word here, the program's name; give each word by itself"
        findings.fault(ours.at("command"), text)
    joined = next((word for word in args if _TWO_WORDS.match(word)), None)
    if joined:
        text = f"{joined[:60]!r} is one argument; an option and its value are two, or joined by ="
        findings.note(ours.at("args"), text)
    relative = [w for w in replica.argv if re.fullmatch(r"[^/\s]\S*\.py", w)]
    if relative and not replica.cwd:
        text = (
            f"{relative[0]} is looked for in a folder without code of yours: give workingDir or its"
            " whole path in the image, or bring the code: tshell submit FOLDER -f FILE"
        )
        findings.note(ours.at("command"), text)


def _variable(variable: Branch, replica: Replica, findings: Findings) -> None:
    name, value = variable.take("name", str), variable.any("value")
    source = variable.branch("valueFrom")
    if name is None or not _is_name(name):
        text = "must be a variable's name: letters, digits, '_', '-' and '.', no digit in front"
        findings.fault(variable.at("name"), text)
    elif is_reserved_variable(name):
        findings.unsupported(
            variable.path, f"{name} is reserved for the platform, which makes it for each member"
        )
    elif not isinstance(value, str | None):
        findings.fault(variable.at("value"), "must be a string; put it in quotes")
    elif source.names() and value:
        findings.fault(variable.path, "has a value and valueFrom; Kubernetes takes one of them")
    elif len(f"{name}={value}".encode()) >= containers.MAX_WORD_BYTES:
        findings.fault(variable.at("value"), containers.TOO_LONG)
    elif source.names():
        if put := storage.value_from(name, source, findings):
            replica.env_value_from.append(put)
            replica.env.append((name, None))
    else:
        replica.env.append((name, value or ""))
    variable.close()


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True


def _resources(branch: Branch, findings: Findings) -> dict[str, Any]:
    """Limits, or requests where there are none: a container here has one figure of each."""
    requests, limits = branch.branch("requests"), branch.branch("limits")
    found: dict[str, Any] = {}
    devices: dict[str, tuple[str, int]] = {}
    for name in dict.fromkeys([*limits.names(), *requests.names()]):
        limit, request = limits.any(name), requests.any(name)
        value = request if limit is None else limit
        if value is None:
            continue
        if None not in (limit, request) and str(limit) != str(request):
            text = f"one figure for request and limit: the limit {limit} is taken"
            findings.note(requests.at(name), text)
        here = (limits if limit is not None else requests).at(name)
        try:
            if is_zero(value):
                continue  # as if it were not there
            if name in AMOUNTS:
                field, read = AMOUNTS[name]
                found[field] = read(value)
            elif "/" in name:
                devices[name] = here, _whole(value)
            else:
                _surplus(here, findings)
        except ValueError as error:
            findings.fault(here, str(error))
    branch.close(instead=advice.RESOURCES)
    return found | _gpu(devices, findings)


def _gpu(devices: dict[str, tuple[str, int]], findings: Findings) -> dict[str, Any]:
    """One kind of device; a network card beside a GPU is not the one that is meant."""
    gpus = [name for name in devices if _GPU.search(name)]
    chosen = next(iter([*gpus, *devices]), None)
    for name, (here, _) in devices.items():
        if name != chosen:
            _surplus(here, findings)
    return {} if chosen is None else {"gpu": devices[chosen][1], "gpu_resource": chosen}


def _surplus(here: str, findings: Findings) -> None:
    findings.unsupported(here, "not supported; cpu, memory, disk and one kind of GPU are")


def _whole(quantity: object) -> int:
    number = amount(quantity)
    if number != int(number):
        raise ValueError(f"{quantity!r} is not a whole number")
    return int(number)
