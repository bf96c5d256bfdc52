"""Volumes and settings that a job brings into its containers, and only there; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.cluster import Object
from shared.contracts import (
    Container,
    EnvironmentSource,
    EnvironmentValue,
    JobSubmit,
    Role,
    Volume,
)
from shared.contracts.volumes import SHARED_MEMORY

_READABLE = 0o440
_SHARED_MEMORY = "shared-memory"
_IDENTITY = "identity"
_IDENTITY_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_S = 3607
"""The life of a token, the same as of Kubernetes' own; the kubelet renews them."""


def volumes(submit: JobSubmit, role: Role) -> list[Object]:
    """The pod's volumes."""
    written = {
        name
        for name, volume in _named(submit.volumes_of(role))
        if (volume.path is not None and not volume.read_only) or _written(submit, role, volume)
    }
    found = {
        name: {"name": name, **_source(volume, read_only=name not in written)}
        for name, volume in _named(submit.volumes_of(role))
    }
    made = list(found.values())
    if size := submit.resources_of(role).shared_memory:
        shared = {"medium": "Memory", "sizeLimit": size}
        made.append({"name": _SHARED_MEMORY, "emptyDir": shared})
    if _has_token(submit):
        made.append({"name": _IDENTITY, "projected": _identity()})
    return made


def mounts(submit: JobSubmit, role: Role) -> list[Object]:
    """The mounts of the program's container."""
    found = [
        _mount(name, volume.path, volume.sub_path, volume.read_only)
        for name, volume in _named(submit.volumes_of(role))
        if volume.path is not None
    ]
    if submit.resources_of(role).shared_memory:
        found.append({"name": _SHARED_MEMORY, "mountPath": SHARED_MEMORY})
    if _has_token(submit):
        found.append({"name": _IDENTITY, "mountPath": _IDENTITY_PATH, "readOnly": True})
    return found


def of_container(submit: JobSubmit, role: Role, container: Container) -> list[Object]:
    """The mounts of one of the job's own containers."""
    by_name = {volume.name: (name, volume) for name, volume in _named(submit.volumes_of(role))}
    found = []
    for mount in container.mounts:
        name, volume = by_name[mount.volume]
        read_only = mount.read_only or volume.host_path is not None
        found.append(_mount(name, mount.path, mount.sub_path, read_only))
    return found


def env_from(sources: Iterable[EnvironmentSource]) -> list[Object]:
    """A container's sources of variables; those it names itself are set later, and so win."""
    return [_variables(each) for each in sources]


def env(values: Iterable[EnvironmentValue]) -> list[Object]:
    """Single variables whose values Kubernetes puts in."""
    return [{"name": each.name, "valueFrom": _value(each)} for each in values]


def _named(volumes: Sequence[Volume]) -> list[tuple[str, Volume]]:
    """The volumes by their names in the pod: two of one name are one volume."""
    first: dict[str | None, int] = {}
    for number, volume in enumerate(volumes):
        first.setdefault(volume.name, number)
    return [
        (f"volume-{number if volume.name is None else first[volume.name]}", volume)
        for number, volume in enumerate(volumes)
    ]


def _written(submit: JobSubmit, role: Role, volume: Volume) -> bool:
    """Return whether a container of the job's own may write to it."""
    return any(
        mount.volume == volume.name and not mount.read_only
        for container in submit.containers_of(role)
        for mount in container.mounts
    )


def _source(volume: Volume, *, read_only: bool) -> Object:
    if volume.claim is not None:
        claim = {"claimName": volume.claim, "readOnly": read_only}
        return {"persistentVolumeClaim": claim}
    if volume.nfs is not None:
        nfs = {"server": volume.nfs.server, "path": volume.nfs.path}
        return {"nfs": nfs | ({"readOnly": True} if read_only else {})}
    if volume.host_path is not None:
        return {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    if volume.empty is not None:
        medium = {"medium": "Memory"} if volume.empty.memory else {}
        return {"emptyDir": {"sizeLimit": volume.empty.size} | medium}
    files: Object = {"defaultMode": _READABLE}
    if volume.items:
        files["items"] = [{"key": key, "path": path} for key, path in volume.items.items()]
    if volume.optional:
        files["optional"] = True
    if volume.secret is not None:
        return {"secret": {"secretName": volume.secret} | files}
    return {"configMap": {"name": volume.config_map} | files}


def _mount(name: str, path: str, sub_path: str | None, read_only: bool) -> Object:
    mount: Object = {"name": name, "mountPath": path}
    if sub_path is not None:
        mount["subPath"] = sub_path
    if read_only:
        mount["readOnly"] = True
    return mount


def _variables(source: EnvironmentSource) -> Object:
    prefix = {"prefix": source.prefix} if source.prefix else {}
    optional = {"optional": True} if source.optional else {}
    if source.secret is not None:
        return {"secretRef": {"name": source.secret} | optional} | prefix
    return {"configMapRef": {"name": source.config_map} | optional} | prefix


def _value(value: EnvironmentValue) -> Object:
    optional = {"optional": True} if value.optional else {}
    if value.secret is not None:
        return {"secretKeyRef": {"name": value.secret, "key": value.key} | optional}
    if value.config_map is not None:
        return {"configMapKeyRef": {"name": value.config_map, "key": value.key} | optional}
    if value.resource is not None:
        return {"resourceFieldRef": {"resource": value.resource}}
    if value.label is not None:
        return {"fieldRef": {"fieldPath": f"metadata.labels['{value.label}']"}}
    if value.annotation is not None:
        return {"fieldRef": {"fieldPath": f"metadata.annotations['{value.annotation}']"}}
    return {"fieldRef": {"fieldPath": value.field}}


def _has_token(submit: JobSubmit) -> bool:
    return submit.service_account is not None and submit.service_account.token


def _identity() -> Object:
    """The mounts that Kubernetes itself makes for a service account; here only in the program."""
    authority = {"key": "ca.crt", "path": "ca.crt"}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    return {
        "defaultMode": _READABLE,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_S}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [authority]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
    }
