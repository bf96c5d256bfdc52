"""What a job brings from its namespace into the program's container, and only there; pure."""

from __future__ import annotations

from shared.cluster import Object
from shared.contracts import EnvironmentSource, JobSubmit, Role, Volume

_READABLE = 0o440


def volumes(submit: JobSubmit, role: Role) -> list[Object]:
    """The pod's volumes."""
    found = enumerate(submit.volumes_of(role))
    return [{"name": _name(number), **_source(volume)} for number, volume in found]


def mounts(submit: JobSubmit, role: Role) -> list[Object]:
    """Where the program's container has them."""
    return [_mount(number, volume) for number, volume in enumerate(submit.volumes_of(role))]


def env_from(submit: JobSubmit) -> list[Object]:
    """The container's sources of variables; the program's own are set later, and so win."""
    return [_variables(each) for each in submit.env_from]


def _name(number: int) -> str:
    return f"volume-{number}"


def _source(volume: Volume) -> Object:
    if volume.claim is not None:
        claim = {"claimName": volume.claim, "readOnly": volume.read_only}
        return {"persistentVolumeClaim": claim}
    if volume.config_map is not None:
        return {"configMap": {"name": volume.config_map, "defaultMode": _READABLE}}
    if volume.secret is not None:
        return {"secret": {"secretName": volume.secret, "defaultMode": _READABLE}}
    if volume.empty is None:
        raise AssertionError("the contract asks for one source")
    medium = {"medium": "Memory"} if volume.empty.memory else {}
    return {"emptyDir": {"sizeLimit": volume.empty.size} | medium}


def _mount(number: int, volume: Volume) -> Object:
    mount: Object = {"name": _name(number), "mountPath": volume.path}
    if volume.sub_path is not None:
        mount["subPath"] = volume.sub_path
    if volume.read_only:
        mount["readOnly"] = True
    return mount


def _variables(source: EnvironmentSource) -> Object:
    prefix = {"prefix": source.prefix} if source.prefix else {}
    if source.secret is not None:
        return {"secretRef": {"name": source.secret}} | prefix
    return {"configMapRef": {"name": source.config_map}} | prefix
