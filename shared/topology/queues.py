"""Exchanges and queues as RabbitMQ knows them, derived from the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from shared.topology.principals import Principal
from shared.topology.route import QueueKind
from shared.topology.routes import (
    ALERTS,
    HEALING,
    JOB_EVENTS,
    JOBS,
    METRICS,
    ROUTES,
    from_exchange,
    publishing_exchange,
    sources,
    subscriptions,
)

PARTITIONS = "metrics.partitions"
PARTITION_PUBLISHER = Principal.DETECTOR
PARTITION_CONSUMERS = (Principal.DETECTOR, Principal.PREDICTOR, Principal.HEALER)
REPLICAS = "replicas"
"""Routing key of a service's heartbeats to its own replicas, on its own queues' exchange."""
RETRY_DELAYS_S = (1, 5, 30, 120, 600)
"""Seconds a message waits before each next attempt; afterwards it is dead-lettered."""


@dataclass(frozen=True)
class Exchange:
    """An exchange to declare."""

    name: str
    kind: str = "topic"
    internal: bool = False
    """True if the broker alone may publish to it."""


@dataclass(frozen=True)
class Queue:
    """A queue to declare: arguments as RabbitMQ knows them, and its bindings."""

    name: str
    durable: bool
    exclusive: bool
    arguments: dict[str, object]
    bindings: tuple[tuple[str, str], ...]
    """(exchange, binding key) pairs."""


def exchanges() -> list[Exchange]:
    """Every exchange. An administrator's definitions make them; no service has the right to."""
    named = [Exchange(name) for name in (JOBS, METRICS, HEALING)]
    named += [Exchange(name, internal=True) for name in (ALERTS, JOB_EVENTS)]
    publishers = (p for p in Principal if any(p in r.publishers for r in ROUTES))
    named += [Exchange(from_exchange(p)) for p in publishers if p is not Principal.OUTSIDE]
    keepers = {*_workers(), *PARTITION_CONSUMERS}
    named += [Exchange(own_queues_exchange(p), "direct") for p in Principal if p in keepers]
    for principal in _workers():
        named += [Exchange(retry_exchange(principal, s), "fanout") for s in RETRY_DELAYS_S]
    return [*named, Exchange(PARTITIONS, "direct")]


def own_queues_exchange(principal: Principal) -> str:
    """The exchange through which ``principal`` reaches its own queues by name, and no other's.

    The broker's default exchange would reach every queue of every principal.
    """
    return f"to.{principal}"


def retry_exchange(principal: Principal, delay_s: int) -> str:
    """The exchange to which ``principal`` publishes messages for a later attempt.

    It is named unlike its queue: who may declare the queue may not delete the exchange.
    """
    return f"retry.{principal}.{delay_s}s"


def dead_letter_name(queue: str) -> str:
    """Queue in which what ``queue`` could not handle is kept."""
    return f"{queue}.dead"


def partition_queue(partition: int) -> str:
    """The stream that holds one partition of all samples."""
    return f"metrics.{partition}"


def partition_of(machine: str, partitions: int) -> int:
    """The partition of a machine's samples: the same on every machine, forever."""
    return crc32(machine.encode()) % partitions


def partitions_of(principal: Principal) -> str:
    """The name of a principal's work on the streams: its dead letters are kept under it."""
    return f"{principal}.partitions"


def outlet_queue(exchange: str) -> str:
    """Queue through which messages pass to an outlet's exchange."""
    return f"outlet.{exchange}"


def work_queues(principal: Principal, instance: str = "0", word: str = "") -> list[Queue]:
    """The queues ``principal`` consumes, each followed by its dead-letter queue.

    ``instance`` names the consumer; ``word`` is what the last word of a narrowed key must be
    (the instance unless given).
    """
    queues = []
    for pattern, routes in subscriptions(principal).items():
        sub = next(s for r in routes for s in r.consumers if s.queue == pattern)
        name = pattern.format(instance=instance)
        bindings = tuple(
            (exchange, route.binding((word or instance) if sub.narrowed else None))
            for route in routes
            for exchange in sources(route)
        )
        if sub.kind is QueueKind.EXCLUSIVE:
            queues.append(Queue(name, False, True, {}, bindings))
        else:
            queues += _work_queue(principal, name, bindings)
    if principal in PARTITION_CONSUMERS:
        queues.append(_dead_letter_queue(principal, partitions_of(principal)))
    return queues


def _work_queue(
    principal: Principal, name: str, bindings: tuple[tuple[str, str], ...]
) -> Iterator[Queue]:
    own, dead = own_queues_exchange(principal), dead_letter_name(name)
    # We count attempts ourselves and dead-letter with a reason, so the broker's own limit
    # (20 deliveries from RabbitMQ 4 on) must not drop anything before that.
    arguments: dict[str, object] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1000,
        "x-dead-letter-exchange": own,
        "x-dead-letter-routing-key": dead,
    }
    yield Queue(name, True, False, arguments, (*bindings, (own, name)))
    yield _dead_letter_queue(principal, name)


def _dead_letter_queue(principal: Principal, queue: str) -> Queue:
    name = dead_letter_name(queue)
    binding = (own_queues_exchange(principal), name)
    return Queue(name, True, False, {"x-queue-type": "quorum"}, (binding,))


def retry_queues(principal: Principal) -> list[Queue]:
    """The queues in which ``principal``'s messages wait; none where it has no work queue."""
    if principal not in _workers():
        return []
    return [
        Queue(
            f"waiting.{principal}.{delay}s",
            True,
            False,
            {
                "x-queue-type": "quorum",
                "x-message-ttl": delay * 1000,
                # Back to the queue it came from: the routing key is that queue's name.
                "x-dead-letter-exchange": own_queues_exchange(principal),
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
            ((retry_exchange(principal, delay), ""),),
        )
        for delay in RETRY_DELAYS_S
    ]


def partition_queues(partitions: int) -> list[Queue]:
    """The sample streams."""
    return [
        Queue(
            partition_queue(number),
            True,
            False,
            {"x-queue-type": "stream", "x-max-age": "7D", "x-max-length-bytes": 20_000_000_000},
            ((PARTITIONS, str(number)),),
        )
        for number in range(partitions)
    ]


def outlet_queues() -> list[Queue]:
    """The queues that pass on at once, to an outlet's exchange, what users may receive.

    A queue bound to a service's own exchange takes part in the confirms of what the service
    publishes: one of a user's that is full and refuses would hold the service up. What is
    dead-lettered needs nobody's confirm, so behind such a queue a user's refusal is the user's.
    """
    return [
        Queue(
            outlet_queue(exchange),
            True,
            False,
            {"x-queue-type": "quorum", "x-message-ttl": 0, "x-dead-letter-exchange": exchange},
            tuple(
                (publishing_exchange(publisher, route), route.binding())
                for route in ROUTES
                if route.outlet == exchange
                for publisher in route.publishers
            ),
        )
        for exchange in (ALERTS, JOB_EVENTS)
    ]


def _workers() -> list[Principal]:
    """The principals with work queues of their own."""
    kinds = {sub.principal for r in ROUTES for sub in r.consumers if sub.kind is QueueKind.QUORUM}
    return [principal for principal in Principal if principal in kinds]
