"""Converts a TFJob's YAML to the fields of ``job.submit`` and its containers' commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.tfjob import advice
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.noticing import notices
from shared.tfjob.own_code import expand
from shared.tfjob.reading import UnreadableError, document
from shared.tfjob.replica import Replica, replica

ROLES = {"chief": "chief", "master": "chief", "ps": "ps", "worker": "worker"} | {
    "evaluator": "evaluator",
}
"""Replica types, in small letters, with the role of a job that each becomes."""


_EARLIER_VERSIONS = {f"kubeflow.org/{version}" for version in ("v1alpha2", "v1beta1", "v1beta2")}
"""Versions whose TFJobs differ from v1 only in where the run policy is."""
_EARLY_POLICY = (
    "cleanPodPolicy",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "backoffLimit",
)


_MAX_SAID = 100


def _first(lines: list[str], what: str) -> list[str]:
    """Return as many lines as somebody reads, and how many more there are."""
    more = len(lines) - _MAX_SAID
    return lines if more <= 0 else [*lines[:_MAX_SAID], f"and {more} further {what}"]


class NotImportableError(Exception):
    """The TFJob cannot become a job of ours; ``faults`` names every reason.

    ``can_go_without``: whether they are all of what is asked for beyond what is supported, so that
    a job without it can run.
    """

    def __init__(self, faults: list[str], *, can_go_without: bool = False) -> None:
        self.faults, self.can_go_without = _first(faults, "faults"), can_go_without
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True)
class Imported:
    """``body``: job.submit without its package; ``commands``: argv, env and cwd by role."""

    body: dict[str, Any]
    commands: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


def import_tfjob(data: bytes, *, own_code: bool = False, force: bool = False) -> Imported:
    """Read one TFJob.

    Args:
        data: the file, YAML or JSON.
        own_code: a package replaces the containers' commands.
        force: go on without what is not supported; it is noted instead.

    Raises:
        NotImportableError: naming every unsupported and every unknown field.
    """
    try:
        found = _listed(document(data))
    except UnreadableError as error:
        raise NotImportableError([str(error)]) from error
    findings = Findings()
    root = Branch(found, "", findings)
    _kind(root, findings)
    body = _metadata(root.branch("metadata"), findings)
    spec = root.branch("spec")
    body |= _run_policy(_policy_branch(spec, findings), findings)
    policy = spec.take("successPolicy", str)
    specs = spec.branch("tfReplicaSpecs")
    elastic = bool(spec.take("enableDynamicWorker", bool))
    spec.close()
    root.close(harmless=advice.DOCUMENT)
    replicas = _replicas(specs, findings, own_code)
    body |= _shape(replicas, policy, findings)
    commands = _together(body, replicas, findings, own_code)
    body |= _elastic(body, findings) if elastic else {}
    if findings.faults or (findings.surplus and not force):
        faults = [*findings.faults, *findings.surplus]
        raise NotImportableError(faults, can_go_without=not findings.faults)
    left_out = [f"left out: {each}" for each in findings.surplus]
    return Imported(body, commands, tuple(_first([*left_out, *findings.notes], "notes")))


def _metadata(metadata: Branch, findings: Findings) -> dict[str, Any]:
    """The job's name, and what its annotations say about notices."""
    made_up = metadata.take("generateName", str)
    name = metadata.take("name", str) or (made_up or "").rstrip("-.")
    if not name:
        findings.missing("metadata.name", "is missing; it becomes the job's name")
    body = {"name": name} | notices(metadata, findings)
    metadata.close(harmless=advice.METADATA)
    return body


def write(commands: dict[str, dict[str, Any]], folder: Path) -> None:
    """The package that runs ``commands``, as a folder to pack."""
    code = folder / "code"
    code.mkdir(parents=True)
    shutil.copyfile(Path(__file__).with_name("run_command.py"), code / "main.py")
    (code / "command.json").write_text(json.dumps(commands, indent=2))


def _listed(found: Any) -> Any:
    """The object of a ``List`` of one, which ``kubectl get tfjob`` without a name makes."""
    kind = found.get("kind") if isinstance(found, dict) else None
    items = found.get("items") if kind in ("List", "TFJobList") else None
    if not isinstance(items, list):
        return found
    if len(items) != 1:
        raise NotImportableError([f"a List of {len(items)} objects: submit one TFJob at a time"])
    return items[0]


def _kind(root: Branch, findings: Findings) -> None:
    version, kind = root.take("apiVersion", str), root.take("kind", str)
    if kind == "TFJob" and version in _EARLIER_VERSIONS:
        findings.note("apiVersion", f"{version} is read as kubeflow.org/v1")
    elif (version, kind) != ("kubeflow.org/v1", "TFJob"):
        findings.fault("apiVersion, kind", f"must be kubeflow.org/v1 TFJob, not {version} {kind}")


def _policy_branch(spec: Branch, findings: Findings) -> Branch:
    """The run policy, with those of its fields that early versions had in ``spec`` itself."""
    policy = spec.branch("runPolicy")
    for name in _EARLY_POLICY:
        value = spec.any(name)
        if value is None:
            continue
        if policy.peek(name) is not None:
            findings.fault(spec.at(name), f"is in runPolicy as well; keep {policy.at(name)}")
        else:
            policy.put(name, value)
            findings.note(spec.at(name), f"read as {policy.at(name)}, where v1 has it now")
    return policy


def _run_policy(branch: Branch, findings: Findings) -> dict[str, Any]:
    body: dict[str, Any] = {}
    clean = branch.take("cleanPodPolicy", str)
    if clean in {"None", "Running"}:
        text = "all pods are removed at the end in any case; logs and model are kept without them"
        findings.note(branch.at("cleanPodPolicy"), text)
    elif clean not in {None, "All"}:
        findings.unsupported(branch.at("cleanPodPolicy"), "must be All, Running or None")
    if branch.take("ttlSecondsAfterFinished", int) is not None:
        text = "left out: pods go at once, and the time would remove logs and model; see ttl_s"
        findings.note(branch.at("ttlSecondsAfterFinished"), text)
    if branch.take("suspend", bool):
        findings.unsupported(
            branch.at("suspend"), "not supported; hand the job in when it may start"
        )
    timeouts: dict[str, int] = {}
    if (seconds := branch.take("activeDeadlineSeconds", int)) is not None:
        timeouts["run_s"] = seconds
    if (limit := branch.take("backoffLimit", int)) is not None:
        body["max_retries"] = limit
    body |= _scheduling(branch.branch("schedulingPolicy"), timeouts, findings)
    branch.close(instead=advice.RUN_POLICY)
    return body | ({"timeouts": timeouts} if timeouts else {})


def _scheduling(scheduling: Branch, timeouts: dict[str, int], findings: Findings) -> dict[str, Any]:
    if seconds := scheduling.take("scheduleTimeoutSeconds", int):
        timeouts["wait_s"] = seconds
    if scheduling.take("minAvailable", int) is not None:
        text = "every member starts or none does; a smaller minimum has no effect"
        findings.note(scheduling.at("minAvailable"), text)
    queue, priority = scheduling.take("queue", str), scheduling.take("priorityClass", str)
    scheduling.close(harmless=advice.SCHEDULING)
    return ({"queue": queue} if queue else {}) | ({"priority_class": priority} if priority else {})


def _replicas(specs: Branch, findings: Findings, own_code: bool) -> dict[str, Replica]:
    found: dict[str, Replica] = {}
    for key in specs.names():
        role = ROLES.get(key.lower())
        if role is None:
            specs.any(key)
            findings.unsupported(specs.at(key), "not known here; correct or remove it")
            continue
        if role in found:
            findings.fault(specs.at(key), f"there is another {role} already; keep one")
        found[role] = replica(specs.branch(key), findings, own_code)
    asked = {role: each for role, each in found.items() if each.replicas > 0}
    if not asked:
        findings.fault("spec.tfReplicaSpecs", "names no replicas; at least Worker is needed")
    return asked


def _elastic(body: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """The setting for ``enableDynamicWorker``, where TensorFlow can take a worker back."""
    path = "spec.enableDynamicWorker"
    fits = body.get("chief") and body.get("ps") and not body.get("host_network")
    if fits and body.get("success_policy") is None:
        findings.note(path, "every member is given the whole cluster")
        return {"elastic": True}
    findings.unsupported(path, advice.NOT_ELASTIC)
    return {}


def _shape(replicas: dict[str, Replica], policy: str | None, findings: Findings) -> dict[str, Any]:
    """Type, numbers of members, success policy and retries."""
    numbers = {role: each.replicas for role, each in replicas.items()}
    for role in ("chief", "evaluator"):
        if numbers.get(role, 0) > 1:
            findings.fault(f"{replicas[role].path}.replicas", "must be 1")
    body: dict[str, Any] = {}
    if sum(numbers.values()) == 1 and {*numbers} <= {"chief", "worker"}:
        body["type"] = "single"
    elif numbers:
        body |= {
            "type": "distribute",
            "chief": "chief" in numbers,
            "ps": numbers.get("ps", 0),
            "workers": numbers.get("worker", 0),
            "evaluator": "evaluator" in numbers,
        }
        if not body["workers"]:
            findings.fault("spec.tfReplicaSpecs", "a cluster needs at least one Worker replica")
        if policy == "AllWorkers":
            body["success_policy"] = "all_workers"
    if policy not in {None, "", "AllWorkers"}:
        findings.fault("spec.successPolicy", "must be '' or AllWorkers")
    if replicas and all(each.restart == "Never" for each in replicas.values()):
        body["max_retries"] = 0
    return body


def _together(
    body: dict[str, Any], replicas: dict[str, Replica], findings: Findings, own_code: bool
) -> dict[str, dict[str, Any]]:
    """The fields that a job has once and a TFJob for each role; the commands by role."""
    images = {role: each.image for role, each in replicas.items() if each.image}
    if len({*images.values()}) == 1 and len(images) == len(replicas):
        (body["image"],) = {*images.values()}
    else:
        body["role_images"] = images
    if any(each.host_network for each in replicas.values()):
        body["host_network"] = True
        _same(replicas, "hostNetwork", lambda r: r.host_network, findings)
    if priority := _same(replicas, "priorityClassName", lambda r: r.priority, findings):
        body.setdefault("priority_class", priority)
    body |= _by_role(replicas)
    if account := _same(replicas, "serviceAccountName", lambda r: r.account, findings):
        body["service_account"] = account
    _scheduling_and_resources(body, replicas)
    if own_code:
        pairs = _same(replicas, "env", lambda r: r.env, findings) or []
        words = _same(replicas, "args", lambda r: r.args, findings) or []
        first = next(iter(replicas.values()), Replica(""))
        body["env"], body["args"] = expand(first, pairs, words, findings)
        return {}
    return {
        "worker" if body.get("type") == "single" else role: {
            "argv": each.argv,
            "env": each.env,
            "cwd": each.cwd,
            **({"env_from": True} if each.env_from else {}),
        }
        for role, each in replicas.items()
    }


def _scheduling_and_resources(body: dict[str, Any], replicas: dict[str, Replica]) -> None:
    """Give the job one scheduling and one kind of resources where all roles have the same."""
    plans = {role: each.scheduling for role, each in replicas.items()}
    if any(plan != body.get("scheduling", {}) for plan in plans.values()):
        alike = all(plan == next(iter(plans.values())) for plan in plans.values())
        body |= {"scheduling": next(iter(plans.values()))} if alike else {"role_scheduling": plans}
    known = [each.resources for each in replicas.values()]
    if known and all(each == known[0] for each in known):
        body["resources"] = known[0]
    else:
        body["role_resources"] = {role: each.resources for role, each in replicas.items()}


def _by_role(replicas: dict[str, Replica]) -> dict[str, Any]:
    """Volumes, containers and sources of variables, each with the roles that have it."""
    found: dict[str, Any] = {
        "volumes": _shared(replicas, lambda r: r.volumes),
        "containers": _shared(replicas, lambda r: r.containers),
        "env_from": _shared(replicas, lambda r: r.env_from),
        "env_value_from": _shared(replicas, lambda r: r.env_value_from),
        "image_pull_secrets": sorted({n for each in replicas.values() for n in each.pull_secrets}),
    }
    return {name: value for name, value in found.items() if value}


def _shared(
    replicas: dict[str, Replica], of: Callable[[Replica], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The values of the roles, each once, with ``roles`` where not all have it."""
    lists = {role: of(each) for role, each in replicas.items()}
    if all(each == next(iter(lists.values())) for each in lists.values()):
        return next(iter(lists.values()), [])
    found: list[dict[str, Any]] = []
    for role, entries in lists.items():
        for entry in entries:
            same = [role for role, others in lists.items() if entry in others]
            if role == same[0]:
                found.append(entry | ({} if len(same) == len(lists) else {"roles": same}))
    return found


def _same(
    replicas: dict[str, Replica], what: str, of: Callable[[Replica], Any], findings: Findings
) -> Any:
    """The value all roles have; a fault, and the last role's, where they differ."""
    values = [of(each) for each in replicas.values()]
    if any(value != values[0] for value in values):
        paths = ", ".join(each.path for each in replicas.values())
        findings.fault(paths, f"all roles must have the same {what}; a job here has one")
    return values[-1] if values else None
