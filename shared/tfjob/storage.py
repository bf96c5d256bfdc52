"""Volumes, mounts, and what else a TFJob's pods take from their namespace by name."""

from __future__ import annotations

from typing import Any

from shared.tfjob import advice
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.quantities import memory

_KINDS = {"persistentVolumeClaim", "configMap", "secret", "emptyDir"}
_WHOLE = "only whole objects can be mounted; take what is needed by subPath of the mount"
_PARTS = {"items": _WHOLE, "optional": "what a job names must be there; remove it"}
_MODE = {"defaultMode": "left out: files are readable by the program's user"}


def sources(pod: Branch, findings: Findings) -> dict[str, dict[str, Any]]:
    """The pod's volumes by name; those of other kinds are named and stand as empty."""
    found: dict[str, dict[str, Any]] = {}
    for volume in pod.branches("volumes"):
        name = volume.take("name", str) or ""
        others = [kind for kind in volume.keys() if kind not in _KINDS]  # noqa: SIM118
        if not others and len(volume.keys()) != 1:
            findings.unsupported(volume.path, f"names no source, or several; {advice.FILES}")
        for kind in others:
            volume.any(kind)
            findings.unsupported(volume.at(kind), f"not supported; {advice.FILES}")
        found[name] = {} if others else _source(volume, findings)
    return found


def _source(volume: Branch, findings: Findings) -> dict[str, Any]:
    kinds = volume.keys()
    if len(kinds) != 1:
        return {}
    asked = volume.branch(kinds[0])
    found: dict[str, Any]
    if kinds == ["persistentVolumeClaim"]:
        found = {"claim": asked.take("claimName", str)}
        if asked.take("readOnly", bool):
            found |= {"read_only": True}
    elif kinds == ["configMap"]:
        found = {"config_map": asked.take("name", str)}
    elif kinds == ["secret"]:
        found = {"secret": asked.take("secretName", str)}
    else:
        return {"empty": _empty(asked, findings)}
    asked.close(instead=_PARTS, harmless=_MODE)
    if None in found.values():
        findings.missing(asked.path, "names no object")
        return {}
    return found


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
    """The volumes of a job that a container has."""
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
            volume = {"path": path.rstrip("/") or "/", **sources[name]}
            volume |= {"sub_path": below} if below else {}
            found.append(volume | ({"read_only": True} if read_only else {}))
    return found


def env_from(container: Branch, findings: Findings) -> list[dict[str, str]]:
    """Where a container's variables come from beside those it names."""
    found: list[dict[str, str]] = []
    for source in container.branches("envFrom"):
        prefix = source.take("prefix", str) or ""
        secret, config_map = source.branch("secretRef"), source.branch("configMapRef")
        names = {"secret": secret.take("name", str), "config_map": config_map.take("name", str)}
        for each in (secret, config_map, source):
            each.close(instead=_PARTS)
        given = {kind: name for kind, name in names.items() if name}
        if len(given) != 1:
            findings.fault(source.path, "needs the name of one Secret or ConfigMap")
        else:
            found.append(given | ({"prefix": prefix} if prefix else {}))
    return found


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
