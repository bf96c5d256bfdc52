"""The page of an HTTP API, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.documents.markdown import document, table


class _Absent:
    def __getattr__(self, name: str) -> Any:
        return self


ABSENT: Any = _Absent()
"""A stand-in for what routes work with: they need it when they answer, not to be described."""


def http_page(title: str, introduction: str, openapi: Mapping[str, Any]) -> str:
    """Every route: method, path, what it does, its parameters and what it takes."""
    rows = [
        _row(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    head = ("method", "path", "does", "query", "body")
    return document(f"# {title}", introduction, table(head, rows))


def _row(path: str, method: str, operation: Mapping[str, Any]) -> tuple[str, ...]:
    does = operation.get("description") or operation.get("summary", "")
    query = [p for p in operation.get("parameters", ()) if p["in"] == "query"]
    named = (f"`{p['name']}`{' (needed)' if p.get('required') else ''}" for p in query)
    content = operation.get("requestBody", {}).get("content", {})
    bodies = (_body(kind, shape.get("schema", {})) for kind, shape in content.items())
    return (
        method.upper(),
        f"`{path}`",
        does.split("\n\n")[0].replace("``", "`"),
        ", ".join(named),
        ", ".join(bodies),
    )


def _body(kind: str, schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return f"{kind}: {name}" if name else kind
