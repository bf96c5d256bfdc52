"""One broker user per principal, with the least permissions its rows of the topology need."""

from __future__ import annotations

import base64
import hashlib
import secrets

from shared import topology
from shared.topology import Permissions, Principal

ADMIN = "admin"
"""The administrator's user name; only declarations by hand and tests need it."""
_SALT_BYTES = 4
_TAGS = {ADMIN: ["administrator"], str(Principal.OPERATOR): ["monitoring"]}


def random_passwords() -> dict[str, str]:
    """A password for the administrator and for every principal."""
    return {str(name): secrets.token_urlsafe(24) for name in (ADMIN, *Principal)}


def definitions(passwords: dict[str, str]) -> dict[str, object]:
    """RabbitMQ definitions with these users on the virtual host ``/``, and no guest."""
    permissions = [_permission(ADMIN, topology.permissions(Principal.OPERATOR))]
    topics = []
    for principal in Principal:
        granted = topology.permissions(principal)
        permissions.append(_permission(principal, granted))
        topics += [
            {"user": principal, "vhost": "/", "exchange": name, "write": write, "read": read}
            for name, write, read in granted.topics
        ]
    return {
        "vhosts": [{"name": "/"}],
        "users": [_user(name, password) for name, password in passwords.items()],
        "permissions": permissions,
        "topic_permissions": topics,
    }


def password_hash(password: str) -> str:
    """RabbitMQ's salted SHA-256: base64 of salt and digest."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


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
        "vhost": "/",
        "configure": granted.configure,
        "write": granted.write,
        "read": granted.read,
    }
