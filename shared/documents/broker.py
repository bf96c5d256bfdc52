"""What a RabbitMQ of your own needs: the chart's definitions, derived from the topology."""

from __future__ import annotations

from typing import Any

from shared import topology
from shared.embedded.broker_users import ADMIN, definitions
from shared.topology import Principal, Queue

_VHOST = "/"
_NO_SAMPLES = 0
"""The sample streams are left out: how many there are is a setting, and services declare them."""


def broker_definitions() -> dict[str, Any]:
    """RabbitMQ definitions without users: their permissions, exchanges, queues and bindings.

    Queues that belong to one machine or member are left out; their consumer declares them.
    """
    granted = definitions({})
    exchanges = topology.exchanges()
    queues = list(_queues())
    return {
        "vhosts": granted["vhosts"],
        "permissions": [p for p in _rows(granted["permissions"]) if p["user"] != ADMIN],
        "topic_permissions": _rows(granted["topic_permissions"]),
        "exchanges": [_exchange(name, kind) for name, kind in exchanges.items()],
        "queues": [_queue(queue) for queue in queues],
        "bindings": [
            _binding(queue, exchange, key) for queue in queues for exchange, key in queue.bindings
        ],
    }


def _queues() -> list[Queue]:
    named = [q for user in Principal for q in topology.work_queues(user, "{instance}")]
    return [*topology.shared_queues(_NO_SAMPLES), *(q for q in named if "{" not in q.name)]


def _rows(value: Any) -> list[dict[str, str]]:
    return [{key: str(text) for key, text in row.items()} for row in value]


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": _VHOST,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": _VHOST,
        "durable": queue.durable,
        "auto_delete": False,
        "arguments": queue.arguments,
    }


def _binding(queue: Queue, exchange: str, key: str) -> dict[str, Any]:
    return {
        "source": exchange,
        "vhost": _VHOST,
        "destination": queue.name,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
    }
