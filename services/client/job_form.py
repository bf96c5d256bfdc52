"""The form for a job, generated from the contract of ``job.submit``, and its input; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.client.job_file import FaultyJobFileError, is_of_kubernetes, read_job_file
from shared.contracts import JobSubmit

_OF_OTHERS = {"job_id", "package", "package_sha256", "submitted_by"}
"""Fields that the page itself fills in."""
_SHOWN_FIRST = ("name", "main", "args", "type", "ps", "workers", "chief")
_RESOURCES = "resources"


@dataclass(frozen=True)
class Input:
    """A field of the form."""

    name: str
    kind: str
    """``text``, ``number``, ``truth``, ``choice`` or ``lines``."""
    about: str
    value: str
    options: tuple[str, ...] = ()
    first: bool = False
    """True if most jobs need it."""


def inputs(filled: Mapping[str, str]) -> list[Input]:
    """Every field that one value or one value a line fills, in the contract's order."""
    schema = JobSubmit.model_json_schema()
    found = list(_inputs(schema, schema["properties"], "", filled))
    order = {name: number for number, name in enumerate(_SHOWN_FIRST)}
    return sorted(found, key=lambda each: order.get(each.name, len(order)))


def _inputs(
    schema: Mapping[str, Any], properties: Mapping[str, Any], prefix: str, filled: Mapping[str, str]
) -> Iterator[Input]:
    for name, declared in properties.items():
        if not prefix and name in _OF_OTHERS:
            continue
        if name == _RESOURCES:
            inner = schema["$defs"][declared["$ref"].rpartition("/")[2]]["properties"]
            yield from _inputs(schema, inner, f"{name}.", filled)
            continue
        kind, options = _kind(declared)
        if kind:
            full = f"{prefix}{name}"
            yield Input(
                full,
                kind,
                declared.get("description", ""),
                filled.get(full, "" if kind == "truth" else _default(declared)),
                options,
                first=full in _SHOWN_FIRST or full in ("resources.cpu", "resources.memory"),
            )


def _kind(declared: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return how a field is filled in; '' for one that takes more than a value a line."""
    forms = declared.get("anyOf", [declared])
    optional = any(form.get("type") == "null" for form in forms)
    form: Mapping[str, Any] = next((each for each in forms if each.get("type") != "null"), {})
    if "enum" in form:
        return "choice", (*([""] if optional else []), *map(str, form["enum"]))
    if form.get("type") == "array" and form.get("items", {}).get("type") == "string":
        return "lines", ()
    kinds = {"boolean": "truth", "integer": "number", "number": "number", "string": "text"}
    return kinds.get(str(form.get("type")), ""), ()


def _default(declared: Mapping[str, Any]) -> str:
    value = declared.get("default")
    return "" if value is None or isinstance(value, list | dict) else str(value)


def body_of(fields: Mapping[str, str], rest: str) -> dict[str, Any]:
    """The body of ``job.submit`` that the form's fields and its job file say.

    Raises:
        FaultyJobFileError: naming every fault of the job file.
    """
    body = read_job_file(rest.encode()) if rest.strip() else {}
    empty = {each.name: each for each in inputs({})}
    for name, field in empty.items():
        said = fields.get(name, "")
        if said.strip() and said != field.value:
            value: object = said.strip()
            if field.kind == "lines":
                value = [line for line in said.splitlines() if line.strip()]
            elif field.kind == "truth":
                value = True
            _put(body, name, value)
    return body


def _put(body: dict[str, Any], name: str, value: object) -> None:
    whole, _, part = name.partition(".")
    if part:
        body[whole] = {**body.get(whole, {}), part: value}
    else:
        body[whole] = value


def is_tfjob(rest: str) -> bool:
    """Return whether what was pasted is an object of Kubernetes, such as a TFJob."""
    try:
        return bool(rest.strip()) and is_of_kubernetes(rest.encode())
    except FaultyJobFileError:
        return False


def filled_by(job: JobSubmit) -> tuple[dict[str, str], str]:
    """The fields and the job file by which the form says this job again."""
    whole = job.model_dump(mode="json", exclude_unset=True)
    fields: dict[str, str] = {}
    for each in inputs({}):
        outer, _, inner = each.name.partition(".")
        value = whole.get(outer) if not inner else whole.get(outer, {}).get(inner)
        if value is not None and value is not False:
            lines = isinstance(value, list)
            fields[each.name] = "\n".join(map(str, value)) if lines else str(value)
    simple = {each.name.partition(".")[0] for each in inputs({})} | _OF_OTHERS
    rest = {name: value for name, value in whole.items() if name not in simple}
    return fields, json.dumps(rest, indent=2) if rest else ""
