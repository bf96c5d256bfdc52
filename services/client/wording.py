"""Pydantic's errors in words for people: no regular expressions, no echo of the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.contracts import Fault
from shared.validation import problem_of, told_once

_NAME = "letters, digits, '_', '.' and '-', with a letter or digit first and last"
_KUBERNETES_NAME = "a Kubernetes name: small letters, digits, '-' and '.'"
_IMAGE = "an image's name, e.g. tensorflow/tensorflow:2.20.0-gpu"
_SHAPES = {
    "job_id": _NAME,
    "name": _NAME,
    "package": "bucket:key prefix:file name, e.g. barograph:packages:digits.tar.gz",
    "package_sha256": "64 hexadecimal digits",
    "sha256": "64 hexadecimal digits",
    "memory": "a Kubernetes quantity above 0, e.g. 512Mi or 2Gi",
    "queue": _KUBERNETES_NAME,
    "priority_class": _KUBERNETES_NAME,
    "device_class": _KUBERNETES_NAME,
    "gpu_resource": "a resource's name, e.g. nvidia.com/gpu",
    "gpu_model": "the value of the nodes' label nvidia.com/gpu.product",
    "image": _IMAGE,
    "role_images": _IMAGE,
    "env": "a variable's name: letters, digits and '_', no digit first",
    "member": "a member's name, e.g. worker-0",
    "project": "small letters, digits and '-', with a letter or digit first and last",
    "to": "mail: and an address, or the name of a channel",
}
"""The form that a field with a pattern must have, in words."""
_KINDS = {
    "missing": "is required",
    "dict_type": "must be a mapping of names to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text; put it in quotes",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
}
_DOORS = {"body", "query", "path", "header"}
_MAX_TEXT = 500


def faults(errors: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """Every error as a fault of its field."""
    return [_fault(error) for error in told_once(errors)]


def _fault(error: Mapping[str, Any]) -> Fault:
    where = [str(part) for part in error["loc"]]
    if where and where[0] in _DOORS:
        where = where[1:]
    if where and where[-1] == "[key]":
        where.pop()
    problem = _KINDS.get(error["type"], problem_of(error))
    if error["type"] == "string_pattern_mismatch":
        named = next((_SHAPES[part] for part in reversed(where) if part in _SHAPES), None)
        problem = f"must be {named}" if named else problem
    return Fault(field=_writable(".".join(where)), problem=_writable(problem))


def _writable(text: str) -> str:
    """``text`` cut, and without what no encoding can hold: the names in it are a stranger's."""
    return text.encode(errors="replace").decode()[:_MAX_TEXT]
