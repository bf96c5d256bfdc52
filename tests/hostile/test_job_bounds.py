"""No message that somebody outside may publish holds anything without a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts import (
    JobPlanned,
    JobSubmit,
    Message,
    PodExited,
    RequestRefused,
    Stored,
    message_types,
)
from shared.contracts.job_parts import MAX_ENVIRONMENT
from shared.topology import ROUTES, Principal

FOREIGN = {Principal.OUTSIDE, Principal.MEMBER}
FROM_OUTSIDE = [route.message for route in ROUTES if FOREIGN & {*route.publishers}]
OF_JOBS = [
    kind
    for kind in message_types().values()
    if kind.__module__ in ("shared.contracts.jobs", "shared.contracts.rendezvous")
]


def _bounded_text(schema: dict[str, Any]) -> bool:
    pattern = schema.get("pattern", "")
    whole = pattern.startswith("^") and pattern.endswith("$") and not {*pattern} & {*"*+"}
    limited = {"maxLength", "enum", "const"} & {*schema}
    return bool(limited) or whole or schema.get("format") == "date-time"


def _unbounded(schema: dict[str, Any], definitions: dict[str, Any], at: str) -> Iterator[str]:
    """Where a value of this schema may be as large as its sender likes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _unbounded(choice, definitions, at)
    kind = schema.get("type")
    if kind == "string" and not _bounded_text(schema):
        yield at
    elif kind == "array":
        if "maxItems" not in schema:
            yield at
        yield from _unbounded(schema.get("items", {}), definitions, f"{at}[]")
    elif kind == "object":
        for name, field in schema.get("properties", {}).items():
            yield from _unbounded(field, definitions, f"{at}.{name}")
        if isinstance(values := schema.get("additionalProperties"), dict):
            if "maxProperties" not in schema:
                yield at
            yield from _unbounded(values, definitions, f"{at}{{}}")
            yield from _unbounded(schema.get("propertyNames", {}), definitions, f"{at} names")


def _free_fields(kind: type[Message]) -> list[str]:
    schema = kind.model_json_schema()
    return sorted(_unbounded(schema, schema.get("$defs", {}), kind.TYPE))


def test_there_is_something_to_check() -> None:
    assert {"job.submit", "pod.exited", "log.appended"} <= {kind.TYPE for kind in FROM_OUTSIDE}


@pytest.mark.parametrize("kind", FROM_OUTSIDE, ids=lambda kind: kind.TYPE)
def test_what_comes_from_outside_is_bounded_in_every_field(kind: type[Message]) -> None:
    assert _free_fields(kind) == []


# Told by the platform of members it made itself: as many as the job has.
_OF_MEMBERS = {
    "clusterspec.ready",
    "rendezvous.open",
    "rendezvous.timed-out",
}


@pytest.mark.parametrize(
    "kind", [k for k in OF_JOBS if k.TYPE not in _OF_MEMBERS], ids=lambda kind: kind.TYPE
)
def test_what_is_told_of_jobs_is_bounded_in_every_field(kind: type[Message]) -> None:
    free = _free_fields(kind)
    assert [field for field in free if not field.startswith("job.planned.manifests")] == []


def _submit(**fields: object) -> JobSubmit:
    given = {"job_id": "j", "name": "n", "package": "barograph:packages:p.tar.gz", "main": "a.py"}
    return JobSubmit.model_validate(given | fields)


def test_a_large_environment_is_refused_by_its_number_and_by_its_size() -> None:
    with pytest.raises(ValidationError, match="at most 256 items"):
        _submit(env={f"E{number}": "" for number in range(257)})
    with pytest.raises(ValidationError, match=f"at most {MAX_ENVIRONMENT} are allowed"):
        _submit(env={f"E{number}": "ü" * 4096 for number in range(256)})
    assert len(_submit(env={f"E{number}": "x" * 4000 for number in range(256)}).env) == 256


def test_what_the_platform_tells_of_others_loses_its_end_and_not_its_whole() -> None:
    end = PodExited.model_validate(
        {
            "job_id": "j",
            "member": {"role": "worker", "index": 0, "incarnation": 1},
            "exit_code": 1,
            "fault": "x" * 10_000,
            "last_lines": ["y" * 5000] * 100,
            "artifacts": [{"bucket": "b", "key": "k", "size": 1, "sha256": ""}] * 5000,
            "stored": {"reasons": ["z" * 5000] * 100},
            "at": "2026-01-01T00:00:00Z",
        }
    )
    assert (len(end.fault), len(end.last_lines), len(end.artifacts)) == (2000, 50, 1000)
    assert len((end.stored + Stored(reasons=("a",))).reasons) == 20
    refused = RequestRefused.model_validate(
        {
            "request_type": "t" * 400,
            "request_id": "i" * 400,
            "job_id": "j" * 400,
            "faults": [{"field": "f" * 900, "problem": "p" * 9000}] * 300,
            "at": "2026-01-01T00:00:00Z",
        }
    )
    assert len(refused.routing_key()) < 255
    assert len(refused.faults) == 100
    assert (
        JobPlanned.model_validate(
            {
                "request_id": "r",
                "runtime": "local",
                "roles": [],
                "cpu": 1,
                "memory_bytes": 1,
                "notes": ["n" * 3000] * 200,
                "at": "2026-01-01T00:00:00Z",
            }
        ).notes
        == ("n" * 2000,) * 100
    )
