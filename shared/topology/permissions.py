"""The permissions of each principal's broker user, derived from its rows of the table.

RabbitMQ checks topic permissions of what is published to an exchange directly, and of its first
routing key only (before 4.1); not of what reaches an exchange by a binding, an alternate exchange
or a dead-letter exchange. So what keeps principals apart is which exchanges exist and who may
write to them. Topic permissions narrow what may be read, which a binding cannot evade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from shared.topology.principals import Principal
from shared.topology.queues import (
    PARTITION_CONSUMERS,
    PARTITION_PUBLISHER,
    PARTITIONS,
    RETRY_DELAYS_S,
    dead_letter_name,
    own_queues_exchange,
    partitions_of,
    retry_exchange,
    retry_queues,
)
from shared.topology.route import QueueKind, Route
from shared.topology.routes import (
    ALERTS,
    JOB_EVENTS,
    ROUTES,
    publishing_exchange,
    sources,
    subscriptions,
)

SUBSCRIBERS_QUEUES = "outside."
"""The beginnings of the names of users' own queues."""

_NAMED_BY_BROKER = "amq.gen-"
"""The prefixes of names that only the broker can assign."""

_STREAMS = r"metrics\.\d+"


@dataclass(frozen=True)
class Permissions:
    """A RabbitMQ user's permissions on the virtual host, as regular expressions."""

    configure: str
    write: str
    read: str
    topics: tuple[tuple[str, str, str], ...]
    """(exchange, write, read) patterns of routing keys on topic exchanges."""


def permissions(principal: Principal) -> Permissions:
    """The rights of ``principal``'s broker user."""
    if principal is Principal.OPERATOR:
        return Permissions(".*", ".*", ".*", ())
    own = list(_own_queues(principal))
    configure, write, read = own[:], own[:], own[:]
    write += _escaped(publishing_exchange(principal, r) for r in _published(principal))
    read += _escaped(exchange for r in _consumed(principal) for exchange in sources(r))
    returning = list(_own_exchanges(principal))
    write += _escaped(returning)
    read += _escaped(returning)
    if principal is Principal.OUTSIDE:
        read += _escaped((ALERTS, JOB_EVENTS))
    if principal in PARTITION_CONSUMERS:
        configure.append(rf"owner\.{principal}\.\d+")
        read.append(_STREAMS)
    if principal is PARTITION_PUBLISHER:
        configure.append(_STREAMS)
        write += [_STREAMS, re.escape(PARTITIONS)]
        read.append(re.escape(PARTITIONS))
    topics = tuple(_topic_permissions(principal))
    return Permissions(_any(configure), _any(write), _any(read), topics)


@dataclass(frozen=True)
class Grant:
    """A right on a queue or exchange, or on one routing key of an exchange; ``*`` is a wildcard."""

    right: Literal["configure", "write", "read"]
    resource: str
    key: str = ""


def grants(principal: Principal, word: str) -> list[Grant]:
    """The rights of the instances whose routing keys carry ``word``: no other's.

    Their queues are named by the broker. A right to make queues of a given name would also be one
    to make an exchange of that name, whose messages no topic permission is asked about.
    """
    own = f"{_NAMED_BY_BROKER}*"
    found = [Grant("configure", own), Grant("write", own), Grant("read", own)]
    found += [
        Grant("write", publishing_exchange(principal, route), route.binding(word))
        for route in _published(principal)
    ]
    for route in _consumed(principal):
        found += [Grant("read", exchange, route.binding(word)) for exchange in sources(route)]
    return found


def _published(principal: Principal) -> list[Route]:
    return [route for route in ROUTES if principal in route.publishers]


def _consumed(principal: Principal) -> list[Route]:
    return [route for routes in subscriptions(principal).values() for route in routes]


def _own_queues(principal: Principal) -> Iterator[str]:
    """Patterns of the names of a principal's own queues."""
    if principal is Principal.OUTSIDE:
        yield re.escape(SUBSCRIBERS_QUEUES) + ".+"
        yield re.escape(_NAMED_BY_BROKER) + ".+"
    for name, routes in subscriptions(principal).items():
        kinds = {s.kind for r in routes for s in r.consumers if s.queue == name}
        if QueueKind.EXCLUSIVE in kinds:
            yield re.escape(_NAMED_BY_BROKER) + ".+"
        else:
            yield _queue_regex(name)
            yield _queue_regex(dead_letter_name(name))
    if principal in PARTITION_CONSUMERS:
        yield re.escape(dead_letter_name(partitions_of(principal)))
        # In which a replica hears of the others.
        yield re.escape(_NAMED_BY_BROKER) + ".+"
    yield from (re.escape(queue.name) for queue in retry_queues(principal))


def _own_exchanges(principal: Principal) -> Iterator[str]:
    """The exchanges that lead to a principal's own queues alone."""
    if retry_queues(principal):
        yield from (retry_exchange(principal, delay) for delay in RETRY_DELAYS_S)
    if retry_queues(principal) or principal in PARTITION_CONSUMERS:
        yield own_queues_exchange(principal)


def _queue_regex(name: str) -> str:
    return re.escape(name).replace(re.escape("{instance}"), r"[A-Za-z0-9_.:-]+")


def _topic_permissions(principal: Principal) -> Iterator[tuple[str, str, str]]:
    writes: dict[str, list[str]] = {}
    reads: dict[str, list[str]] = {}
    for route in _published(principal):
        writes.setdefault(publishing_exchange(principal, route), []).append(route.key_pattern)
    for route in _consumed(principal):
        for exchange in sources(route):
            reads.setdefault(exchange, []).append(route.key_pattern)
    for exchange in sorted(writes | reads):
        yield exchange, _any(writes.get(exchange, ())), _any(reads.get(exchange, ()))


def _escaped(names: Iterable[str]) -> list[str]:
    return [re.escape(name) for name in names]


def _any(patterns: Iterable[str]) -> str:
    joined = "|".join(dict.fromkeys(patterns))
    return f"^({joined})$" if joined else "^$"
