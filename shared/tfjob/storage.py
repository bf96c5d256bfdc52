"""Volumes, mounts, and other references of a TFJob to objects of its namespace."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from shared.contracts.volumes import ContainerResource, PodField
from shared.tfjob import advice
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.quantities import memory

_KINDS = {"persistentVolumeClaim", "configMap", "secret", "emptyDir", "nfs", "hostPath"}
_MODE = {"defaultMode": "left out: files are readable by the program's user"}


def sources(pod: Branch, findings: Findings) -> dict[str, dict[str, Any]]:
    """The pod's volumes by name; those of other kinds are named and stand as empty."""
    found: dict[str, dict[str, Any]] = {}
    for volume in pod.branches("volumes"):
        name = volume.take("name", str) or ""
        others = [kind for kind in volume.names() if kind not in _KINDS]
        if not others and len(volume.names()) != 1:
            findings.unsupported(volume.path, f"names no source, or several; {advice.FILES}")
        for kind in others:
            volume.any(kind)
            findings.unsupported(volume.at(kind), f"not supported; {advice.FILES}")
        found[name] = {} if others else _source(volume, findings)
    return found


def _source(volume: Branch, findings: Findings) -> dict[str, Any]:
    kinds = volume.names()
    if len(kinds) != 1:
        return {}
    asked = volume.branch(kinds[0])
    if kinds == ["emptyDir"]:
        return {"empty": _empty(asked, findings)}
    named, found = _object(kinds[0], asked, findings)
    asked.close(harmless=_MODE)
    if not named:
        findings.missing(asked.path, "names no object")
        return {}
    return found


def _object(kind: str, asked: Branch, findings: Findings) -> tuple[bool, dict[str, Any]]:
    """Return whether the source is named, and the volume's fields that say so."""
    read_only = {"read_only": True} if asked.take("readOnly", bool) else {}
    if kind == "persistentVolumeClaim":
        claim = asked.take("claimName", str)
        return claim is not None, {"claim": claim} | read_only
    if kind == "nfs":
        export = {"server": asked.take("server", str), "path": asked.take("path", str)}
        return None not in export.values(), {"nfs": export} | read_only
    if kind == "hostPath":
        path, form = asked.take("path", str), asked.take("type", str)
        if form not in {None, "", "Directory"}:
            findings.unsupported(asked.at("type"), "must be Directory or left out")
        return path is not None, {"host_path": (path or "").rstrip("/") or "/"}
    field, key = {"configMap": ("config_map", "name"), "secret": ("secret", "secretName")}[kind]
    name = asked.take(key, str)
    return name is not None, {field: name} | _files(asked) | _optional(asked)


def _files(asked: Branch) -> dict[str, Any]:
    items: dict[str, str] = {}
    for each in asked.branches("items"):
        key, path = each.take("key", str), each.take("path", str)
        items[key or ""] = path or ""
        each.close(harmless={"mode": _MODE["defaultMode"]})
    return {"items": items} if items else {}


def _optional(asked: Branch) -> dict[str, Any]:
    return {"optional": True} if asked.take("optional", bool) else {}


def _empty(asked: Branch, findings: Findings) -> dict[str, Any]:
    medium, size = asked.take("medium", str), asked.any("sizeLimit")
    found: dict[str, Any] = {}
    if medium == "Memory":
        found["memory"] = True
    elif medium:
        findings.unsupported(asked.at("medium"), "must be Memory or left out")
    try:
        if size is not None:
            found["size"] = memory(size)
        else:
            findings.note(asked.at("sizeLimit"), "none is given: it holds 1Gi")
    except ValueError as error:
        findings.fault(asked.at("sizeLimit"), str(error))
    asked.close()
    return found


def mounts(
    container: Branch, sources: dict[str, dict[str, Any]], findings: Findings
) -> list[dict[str, Any]]:
    """A container's mounts of the pod's volumes: ``volume``, ``path`` and options."""
    found: list[dict[str, Any]] = []
    for mount in container.branches("volumeMounts"):
        name, path = mount.take("name", str), mount.take("mountPath", str)
        below, read_only = mount.take("subPath", str), mount.take("readOnly", bool)
        mount.close()
        if name not in sources:
            findings.fault(mount.at("name"), f"there is no volume {name}")
        elif not path:
            findings.missing(mount.at("mountPath"), "is missing")
        elif sources[name]:
            if "host_path" in sources[name] and not read_only:
                findings.unsupported(mount.path, advice.WRITABLE_HOST_PATH)
                continue
            made: dict[str, Any] = {"volume": name, "path": path.rstrip("/") or "/"}
            made |= {"sub_path": below.rstrip("/")} if below else {}
            only = read_only or sources[name].get("read_only")
            found.append(made | ({"read_only": True} if only else {}))
    return found


def volumes(
    program: list[dict[str, Any]],
    containers: list[dict[str, Any]],
    sources: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """The job's volumes: where its program has them, and those only its other containers have.

    Only a volume that is mounted more than once needs its name.
    """
    others = [mount["volume"] for each in containers for mount in each.get("mounts", ())]
    places = [mount["volume"] for mount in program]
    found = []
    for mount in program:
        name = mount["volume"]
        shared = name in others or places.count(name) > 1
        where = {key: value for key, value in mount.items() if key != "volume"}
        found.append(({"name": name} if shared else {}) | sources[name] | where)
    rest = [name for name in dict.fromkeys(others) if name not in places]
    return found + [{"name": name} | sources[name] for name in rest]


def env_from(container: Branch, findings: Findings) -> list[dict[str, Any]]:
    """The sources of a container's variables beside those it names."""
    found: list[dict[str, Any]] = []
    for source in container.branches("envFrom"):
        prefix = source.take("prefix", str) or ""
        secret, config_map = source.branch("secretRef"), source.branch("configMapRef")
        names = {"secret": secret.take("name", str), "config_map": config_map.take("name", str)}
        optional = _optional(secret) | _optional(config_map)
        for each in (secret, config_map, source):
            each.close()
        given = {kind: name for kind, name in names.items() if name}
        if len(given) != 1:
            findings.fault(source.path, "needs the name of one Secret or ConfigMap")
        else:
            found.append(given | optional | ({"prefix": prefix} if prefix else {}))
    return found


def value_from(name: str, source: Branch, findings: Findings) -> dict[str, Any] | None:
    """A variable whose value Kubernetes puts in, as one of ``env_value_from``."""
    kinds = source.names()
    if len(kinds) != 1 or kinds[0] not in _VALUES:
        findings.unsupported(source.path, advice.VALUE_FROM)
        return None
    asked = source.branch(kinds[0])
    found = _VALUES[kinds[0]](asked, findings)
    asked.close()
    return None if found is None else {"name": name} | found


def _entry(kind: str, asked: Branch, findings: Findings) -> dict[str, Any] | None:
    name, key = asked.take("name", str), asked.take("key", str)
    if not name or not key:
        findings.fault(asked.path, "needs a name and a key")
        return None
    return {kind: name, "key": key} | _optional(asked)


def _field(asked: Branch, findings: Findings) -> dict[str, Any] | None:
    path, version = asked.take("fieldPath", str) or "", asked.take("apiVersion", str)
    if version not in {None, "", "v1"}:
        findings.unsupported(asked.at("apiVersion"), "must be v1 or left out")
    if match := _SUBSCRIPT.fullmatch(path):
        return {match[1].removesuffix("s"): match[2]}
    if path not in get_args(get_args(PodField)[0]):
        findings.unsupported(asked.at("fieldPath"), "not a field that a program may read")
        return None
    return {"field": path}


def _resource(asked: Branch, findings: Findings) -> dict[str, Any] | None:
    resource, container = asked.take("resource", str), asked.take("containerName", str)
    divisor = asked.any("divisor")
    if container not in {None, "", "tensorflow"} or str(divisor or "1") not in {"0", "1"}:
        findings.unsupported(asked.path, "only the container's own, as it is (divisor 1)")
        return None
    if resource not in get_args(ContainerResource):
        findings.unsupported(
            asked.at("resource"), "must be a limit or request of cpu, memory or disk"
        )
        return None
    return {"resource": resource}


_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_VALUES: dict[str, Callable[[Branch, Findings], dict[str, Any] | None]] = {
    "secretKeyRef": partial(_entry, "secret"),
    "configMapKeyRef": partial(_entry, "config_map"),
    "fieldRef": _field,
    "resourceFieldRef": _resource,
}


def names(branch: Branch, key: str, findings: Findings) -> list[str]:
    """A list of objects named by nothing but their names."""
    found = []
    for each in branch.branches(key):
        name = each.take("name", str)
        each.close()
        if name:
            found.append(name)
        else:
            findings.fault(each.path, "needs a name")
    return found
