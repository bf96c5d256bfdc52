"""A job's own file: the fields of ``job.submit`` in YAML or JSON.

Every number and truth value is taken as it is written and becomes what its field wants, so that
``args: [--lr, 1.10]`` and ``env: {COUNTRY: no}`` reach the program as they stand there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError

from services.client.wording import faults
from shared.contracts import JobSubmit
from shared.tfjob import UnreadableError, amount, document, memory
from shared.visible import visible

_OF_KUBERNETES = {"apiVersion", "kind", "metadata", "spec", "items"}
_OWN = "x-"
"""Begins the names of a file's own parts, which its anchors lie in."""
_STAND_INS = {"job_id": "checked", "name": "checked", "main": "main.py"} | {
    "package": "checked:packages:checked.tar.gz"
}
"""The fields that ``submit`` itself adds where the file has none."""


class FaultyJobFileError(Exception):
    """The file does not contain a valid job; the text names every fault."""


def is_of_kubernetes(data: bytes) -> bool:
    """Return whether a file is an object of Kubernetes, such as a TFJob, or may be one.

    Raises:
        FaultyJobFileError: when nothing can be read in it.
    """
    found = _read(data)
    return isinstance(found, dict) and bool(_OF_KUBERNETES & found.keys())


def read_job_file(data: bytes) -> dict[str, Any]:
    """The fields of a job's file.

    Raises:
        FaultyJobFileError: naming every fault.
    """
    found = _read(data)
    if not isinstance(found, dict):
        text = "must hold a job's fields (main, args, resources, …), each with its name"
        raise FaultyJobFileError(text)
    body = {
        name: value
        for name, value in found.items()
        if value is not None and not name.startswith(_OWN)
    }
    for part in (body.get("resources"), *_parts(body.get("role_resources"))):
        _quantities(part)
    try:
        job = JobSubmit.model_validate({**_STAND_INS, **body}, extra="forbid")
    except ValidationError as error:
        raise FaultyJobFileError("\n".join(_lines(error))) from error
    whole = job.model_dump(mode="json", exclude_unset=True)
    return {name: whole[name] for name in body}


def _quantities(resources: object) -> None:
    """Write Kubernetes' quantities that messages do not have, 500m and 1.5Gi, as they have them."""
    if not isinstance(resources, dict):
        return
    with suppress(ValueError):  # the contract names what is none
        if "cpu" in resources:
            resources["cpu"] = float(amount(resources["cpu"]))
    with suppress(ValueError):
        if "." in str(resources.get("memory", "")):
            resources["memory"] = memory(resources["memory"])


def _parts(of_roles: object) -> list[object]:
    return [*of_roles.values()] if isinstance(of_roles, dict) else []


def _read(data: bytes) -> Any:
    try:
        return document(data, as_written=True)
    except UnreadableError as error:
        raise FaultyJobFileError(str(error)) from error


def _lines(error: ValidationError) -> Iterator[str]:
    details = error.errors()
    for detail, fault in zip(details, faults(details), strict=True):
        problem = fault.problem
        if detail["type"] == "extra_forbidden":
            problem = f"there is no such field{_meant(detail['loc'])}"
        yield visible(f"{fault.field}: {problem}".removeprefix(": "))


def _meant(place: tuple[int | str, ...]) -> str:
    """The field that an unknown one may have been meant to be."""
    fields = JobSubmit.model_fields
    for part in place[:-1]:
        kind = fields[part].annotation if isinstance(part, str) and part in fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ""
        fields = kind.model_fields
    near = difflib.get_close_matches(str(place[-1]).lower(), fields, n=1)
    return f"; perhaps {near[0]}" if near else ""
