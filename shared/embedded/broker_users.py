"""The administrator's part of a RabbitMQ: a user with its rights per principal, and the exchanges.

No principal may declare an exchange, so what is here must be there before any service connects.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from shared import topology
from shared.topology import Exchange, Permissions, Principal, Queue

ADMIN = "admin"
"""The administrator's user name; only declarations by hand and tests need it."""

MAX_QUEUES = 2_000
"""Queues of all kinds on a broker of ours. Subscribers' queues are bounded one by one only."""

_SALT_BYTES = 4
_TAGS = {ADMIN: ["administrator"], str(Principal.OPERATOR): ["monitoring"]}
_VHOST = "/"
_DAY_MS = 86_400_000
_MIB = 1024 * 1024


def password_makers() -> dict[str, Callable[[], str]]:
    """Return a function that creates a password for each user."""
    return {str(name): partial(secrets.token_urlsafe, 24) for name in (ADMIN, *Principal)}


def random_passwords() -> dict[str, str]:
    """A password for the administrator and for every principal."""
    return {name: make() for name, make in password_makers().items()}


def definitions(passwords: dict[str, str]) -> dict[str, Any]:
    """RabbitMQ definitions with these users, their permissions, and what they may not declare."""
    permissions = [_permission(ADMIN, topology.permissions(Principal.OPERATOR))]
    topics = []
    for principal in Principal:
        granted = topology.permissions(principal)
        permissions.append(_permission(principal, granted))
        topics += [
            {"user": principal, "vhost": _VHOST, "exchange": name, "write": write, "read": read}
            for name, write, read in granted.topics
        ]
    outlets = topology.outlet_queues()
    return {
        "vhosts": [{"name": _VHOST}],
        "users": [_user(name, password) for name, password in passwords.items()],
        "permissions": permissions,
        "topic_permissions": topics,
        "parameters": [*bounds(), _parameter("vhost-limits", "limits", {"max-queues": MAX_QUEUES})],
        "policies": stream_bounds(),
        "exchanges": [_exchange(exchange) for exchange in topology.exchanges()],
        "queues": [queue_definition(queue) for queue in outlets],
        "bindings": [binding for queue in outlets for binding in binding_definitions(queue)],
    }


def bounds() -> list[dict[str, Any]]:
    """Operator policies that bound the queues which strangers make or fill.

    A queue of a user's that nobody reads must not fill the disk, at which the broker would stop
    everybody. Of dead letters the newest are kept.
    """
    subscriber = {"max-length-bytes": 4 * _MIB, "message-ttl": _DAY_MS, "expires": 7 * _DAY_MS}
    return [
        _parameter("operator_policy", "subscribers", _policy(_SUBSCRIBERS, subscriber)),
        _parameter(
            "operator_policy",
            "dead-letters",
            _policy(r"^[a-z]+\..+\.dead$", {"max-length-bytes": 1024 * _MIB}),
        ),
    ]


def stream_bounds() -> list[dict[str, Any]]:
    """Policies that bound a stream of a user's: it is cut by whole segments, 500 MB large else."""
    bounded = {"max-length-bytes": 4 * _MIB, "stream-max-segment-size-bytes": _MIB}
    policy = _policy(_SUBSCRIBERS, bounded)
    return [{"vhost": _VHOST, "name": "subscribers", **policy}]


_SUBSCRIBERS = r"^(outside\.|amq\.gen-)"


def password_hash(password: str) -> str:
    """RabbitMQ's salted SHA-256: base64 of salt and digest."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def queue_definition(queue: Queue) -> dict[str, Any]:
    """A queue as definitions name it."""
    return {
        "name": queue.name,
        "vhost": _VHOST,
        "durable": queue.durable,
        "auto_delete": False,
        "arguments": queue.arguments,
    }


def binding_definitions(queue: Queue) -> list[dict[str, Any]]:
    """A queue's bindings as definitions name them."""
    return [
        {
            "source": exchange,
            "vhost": _VHOST,
            "destination": queue.name,
            "destination_type": "queue",
            "routing_key": key,
            "arguments": {},
        }
        for exchange, key in queue.bindings
    ]


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "vhost": _VHOST,
        "type": exchange.kind,
        "durable": True,
        "auto_delete": False,
        "internal": exchange.internal,
        "arguments": {},
    }


def _policy(pattern: str, definition: dict[str, int]) -> dict[str, Any]:
    return {"pattern": pattern, "apply-to": "queues", "priority": 1, "definition": definition}


def _parameter(component: str, name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"vhost": _VHOST, "component": component, "name": name, "value": value}


def _user(name: str, password: str) -> dict[str, object]:
    return {
        "name": name,
        "password_hash": password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": _TAGS.get(name, []),
    }


def _permission(user: str, granted: Permissions) -> dict[str, str]:
    return {
        "user": user,
        "vhost": _VHOST,
        "configure": granted.configure,
        "write": granted.write,
        "read": granted.read,
    }
