"""The definitions for your own RabbitMQ, derived from the topology."""

from __future__ import annotations

from typing import Any

from shared import topology
from shared.embedded.broker_users import (
    ADMIN,
    binding_definitions,
    bounds,
    definitions,
    queue_definition,
)
from shared.topology import Principal, Queue


def broker_definitions() -> dict[str, Any]:
    """RabbitMQ definitions without users: their permissions, exchanges, queues and bindings.

    Left out are the queues of single machines and members, which their consumers declare; the
    sample streams, whose number is a setting; and how many queues there may be, since that
    depends on how many machines there are.
    """
    given = definitions({})
    queues = list(_queues())
    return {
        "vhosts": given["vhosts"],
        "permissions": [p for p in _rows(given["permissions"]) if p["user"] != ADMIN],
        "topic_permissions": _rows(given["topic_permissions"]),
        "parameters": bounds(),
        "policies": given["policies"],
        "exchanges": given["exchanges"],
        "queues": [queue_definition(queue) for queue in queues],
        "bindings": [binding for queue in queues for binding in binding_definitions(queue)],
    }


def _queues() -> list[Queue]:
    named = [q for user in Principal for q in topology.work_queues(user, "{instance}")]
    retries = [q for user in Principal for q in topology.retry_queues(user)]
    return [*topology.outlet_queues(), *retries, *(q for q in named if "{" not in q.name)]


def _rows(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{key: str(text) for key, text in row.items()} for row in rows]
