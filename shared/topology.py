"""Who publishes what to whom: the one table from which everything about the broker is derived.

Exchanges, queues, bindings, retry and dead-letter queues, each principal's permissions, the
AsyncAPI document and the picture in the README all come from ``ROUTES``. A principal that
publishes or consumes outside its rows is refused at run time, by us and by the broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from shared import contracts as c
from shared.contracts.message import Message


class Principal(StrEnum):
    """Who connects to the broker; each has its own user with its own permissions."""

    CLIENT = "client"
    TASK = "task"
    AUTOSPEC = "autospec"
    DETECTOR = "detector"
    PREDICTOR = "predictor"
    HEALER = "healer"
    AGENT = "agent"
    MEMBER = "member"
    OUTSIDE = "outside"
    OPERATOR = "operator"


class QueueKind(StrEnum):
    """Quorum queues for work, exclusive ones for a member's own messages."""

    QUORUM = "quorum"
    EXCLUSIVE = "exclusive"


JOBS, ALERTS, METRICS = "jobs", "alerts", "metrics"
PARTITIONS = "metrics.partitions"
DEAD_LETTERS = "dead-letters"
RETRY_DELAYS_S = (1, 5, 30, 120, 600)
"""Seconds a message waits before each next attempt; afterwards it is dead-lettered."""


@dataclass(frozen=True)
class Subscription:
    """``principal`` receives the message in ``queue``.

    ``{instance}`` in the queue and ``{word}`` in the binding stand for the consumer's own
    instance name (an agent's machine, a member's job).
    """

    principal: Principal
    queue: str
    kind: QueueKind = QueueKind.QUORUM
    narrowed: bool = False
    """Whether only messages addressed to this instance are wanted (last word of the key)."""
    awaited: bool = True
    """Whether a publish is a failure while nobody ever made the queue."""


@dataclass(frozen=True)
class Route:
    """One message's way: from its publishers, over an exchange, to its consumers."""

    message: type[Message]
    exchange: str
    publishers: tuple[Principal, ...]
    consumers: tuple[Subscription, ...] = ()
    words: int = field(default=0)
    """How many words follow the message's type in its routing key."""
    prefix: str = ""
    """The key's constant beginning, where it is not the message's type."""

    @property
    def key_prefix(self) -> str:
        return self.prefix or self.message.TYPE

    def binding(self, word: str | None = None) -> str:
        """The binding key for all such messages, or for those addressed to ``word``."""
        if not self.words:
            return self.key_prefix
        return f"{self.key_prefix}.{word if word is not None else '#'}"


P = Principal


def _to(*names: Principal) -> tuple[Subscription, ...]:
    return tuple(Subscription(name, f"{name}.{_FLOW[name]}") for name in names)


_FLOW = {
    P.CLIENT: "events",
    P.TASK: "jobs",
    P.AUTOSPEC: "reports",
    P.DETECTOR: "samples",
    P.HEALER: "observations",
}
_SHOWN = (Subscription(P.CLIENT, "client.members"),)
_MEMBER = (Subscription(P.MEMBER, "member.{instance}", QueueKind.EXCLUSIVE, narrowed=True),)
_AGENT = (Subscription(P.AGENT, "agent.{instance}", narrowed=True),)
_ASKERS = (P.CLIENT, P.OUTSIDE)

ROUTES: tuple[Route, ...] = (
    # A job's way.
    Route(c.JobSubmit, JOBS, _ASKERS, _to(P.TASK)),
    Route(c.JobPlan, JOBS, _ASKERS, _to(P.TASK)),
    Route(c.JobPlanned, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobCancel, JOBS, _ASKERS, _to(P.TASK)),
    Route(c.JobRemove, JOBS, _ASKERS, _to(P.TASK)),
    Route(c.RequestRefused, JOBS, (P.TASK, P.DETECTOR), _to(P.CLIENT), words=1),
    Route(c.JobAccepted, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobStarting, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobPending, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.RendezvousOpen, JOBS, (P.TASK,), _to(P.AUTOSPEC)),
    Route(c.PodReported, JOBS, (P.MEMBER,), (*_to(P.AUTOSPEC), *_SHOWN), words=1),
    Route(c.ClusterSpecReady, JOBS, (P.AUTOSPEC,), (*_MEMBER, *_to(P.TASK), *_SHOWN), words=1),
    Route(c.PodFenced, JOBS, (P.AUTOSPEC,), _MEMBER, words=1),
    Route(c.RendezvousTimedOut, JOBS, (P.AUTOSPEC,), _to(P.TASK)),
    Route(c.PodStarted, JOBS, (P.MEMBER,), (*_to(P.TASK), *_SHOWN), words=1),
    Route(c.JobRunning, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.LogAppended, JOBS, (P.MEMBER,), (Subscription(P.CLIENT, "client.logs"),), words=1),
    Route(c.PodMeasured, JOBS, (P.MEMBER,), (replace(_SHOWN[0], awaited=False),), words=1),
    Route(c.PodExited, JOBS, (P.MEMBER,), (*_to(P.TASK), *_SHOWN), words=1),
    Route(c.JobRetrying, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.RendezvousClose, JOBS, (P.TASK,), _to(P.AUTOSPEC)),
    Route(c.JobSucceeded, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobFailed, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobCancelled, JOBS, (P.TASK,), _to(P.CLIENT)),
    Route(c.JobRemoved, JOBS, (P.TASK,), _to(P.CLIENT)),
    # A sample's way.
    Route(
        c.MetricBatch,
        METRICS,
        (P.AGENT, P.HEALER, P.OUTSIDE),
        _to(P.DETECTOR),
        words=1,
        prefix="samples",
    ),
    Route(c.AnomalyDetected, ALERTS, (P.DETECTOR,), _to(P.HEALER)),
    Route(c.AnomalyCleared, ALERTS, (P.DETECTOR,), _to(P.HEALER)),
    Route(c.AlarmPredicted, ALERTS, (P.PREDICTOR,), _to(P.HEALER)),
    Route(c.PredictionWithdrawn, ALERTS, (P.PREDICTOR,), _to(P.HEALER)),
    Route(c.AlertChanged, ALERTS, (P.HEALER,), words=4, prefix="alert"),
    Route(c.EvidenceCollect, ALERTS, (P.HEALER,), _AGENT, words=1),
    Route(c.EvidenceCollected, ALERTS, (P.AGENT,), _to(P.HEALER)),
    Route(c.RemediationExecute, ALERTS, (P.HEALER,), _AGENT, words=1),
    Route(c.RemediationExecuted, ALERTS, (P.AGENT,), _to(P.HEALER)),
    Route(c.ItemRead, ALERTS, (P.HEALER,), _AGENT, words=1),
    Route(c.ItemObserved, ALERTS, (P.AGENT,), _to(P.HEALER)),
    Route(c.RemediationVerified, ALERTS, (P.HEALER,)),
    # What people decide, and what becomes of it.
    Route(c.ActionDecide, ALERTS, (P.CLIENT,), _to(P.HEALER)),
    Route(c.ActionChanged, ALERTS, (P.HEALER,)),
    Route(c.HealingStop, ALERTS, (P.HEALER, P.CLIENT, P.OUTSIDE), (*_to(P.HEALER), *_AGENT)),
    Route(c.HealingResume, ALERTS, (P.HEALER, P.CLIENT), (*_to(P.HEALER), *_AGENT)),
    Route(c.HealingSwitched, ALERTS, (P.HEALER,)),
    Route(c.AnomalyJudge, ALERTS, (P.CLIENT,), _to(P.HEALER)),
    Route(c.AnomalyJudged, ALERTS, (P.HEALER,), _to(P.DETECTOR)),
    Route(c.RuleDecide, ALERTS, (P.CLIENT,), _to(P.HEALER)),
    Route(c.CorrelationChanged, ALERTS, (P.HEALER,)),
    Route(c.HealthReported, ALERTS, (P.HEALER,)),
)
"""Every message of the platform, in flow order."""

PARTITION_PUBLISHER = P.DETECTOR
PARTITION_CONSUMERS = (P.DETECTOR, P.PREDICTOR, P.HEALER)

_BY_TYPE = {route.message.TYPE: route for route in ROUTES}


def route_of(message_type: type[Message]) -> Route:
    """The row of a message class; KeyError for one outside the table."""
    return _BY_TYPE[message_type.TYPE]


def may_publish(principal: Principal, message_type: type[Message]) -> bool:
    """Whether the table lets ``principal`` publish such messages."""
    route = _BY_TYPE.get(message_type.TYPE)
    return route is not None and principal in route.publishers


@dataclass(frozen=True)
class Queue:
    """A queue to declare: arguments as RabbitMQ knows them, and its bindings."""

    name: str
    durable: bool
    exclusive: bool
    arguments: dict[str, object]
    bindings: tuple[tuple[str, str], ...]
    """(exchange, binding key) pairs."""


def exchanges() -> dict[str, str]:
    """Every exchange with its type."""
    named = {JOBS: "topic", ALERTS: "topic", METRICS: "topic", PARTITIONS: "direct"}
    return named | {DEAD_LETTERS: "direct"} | {retry_name(s): "topic" for s in RETRY_DELAYS_S}


def retry_name(delay_s: int) -> str:
    """Exchange and queue in which messages wait ``delay_s`` seconds for another attempt."""
    return f"retry.{delay_s}s"


def dead_letter_name(queue: str) -> str:
    """Queue in which what ``queue`` could not handle is kept."""
    return f"{queue}.dead"


def partition_queue(partition: int) -> str:
    """The stream that holds one partition of all samples."""
    return f"metrics.{partition}"


def partitions_of(principal: Principal) -> str:
    """What a principal's work on the streams is called: its dead letters are kept under it."""
    return f"{principal}.partitions"


def subscriptions(principal: Principal) -> dict[str, list[Route]]:
    """Queue name (with its ``{instance}``) to the routes that end in it."""
    found: dict[str, list[Route]] = {}
    for route in ROUTES:
        for sub in route.consumers:
            if sub.principal is principal:
                found.setdefault(sub.queue, []).append(route)
    return found


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
            (route.exchange, route.binding((word or instance) if sub.narrowed else None))
            for route in routes
        )
        if sub.kind is QueueKind.EXCLUSIVE:
            queues.append(Queue(name, False, True, {}, bindings))
        else:
            queues.append(Queue(name, True, False, _work_queue_arguments(name), bindings))
            queues.append(_dead_letter_queue(name))
    if principal in PARTITION_CONSUMERS:
        queues.append(_dead_letter_queue(partitions_of(principal)))
    return queues


def _work_queue_arguments(queue: str) -> dict[str, object]:
    # We count attempts ourselves and dead-letter with a reason, so the broker's own limit
    # (20 deliveries from RabbitMQ 4 on) must not drop anything before that.
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1000,
        "x-dead-letter-exchange": DEAD_LETTERS,
        "x-dead-letter-routing-key": queue,
    }


def _dead_letter_queue(queue: str) -> Queue:
    arguments: dict[str, object] = {"x-queue-type": "quorum"}
    return Queue(dead_letter_name(queue), True, False, arguments, ((DEAD_LETTERS, queue),))


def shared_queues(partitions: int) -> list[Queue]:
    """What everybody relies on: the retry queues and the sample streams."""
    retries = [
        Queue(
            retry_name(delay),
            True,
            False,
            {
                "x-queue-type": "quorum",
                "x-message-ttl": delay * 1000,
                # Back to the queue it came from: the routing key is that queue's name.
                "x-dead-letter-exchange": "",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
            },
            ((retry_name(delay), "#"),),
        )
        for delay in RETRY_DELAYS_S
    ]
    streams = [
        Queue(
            partition_queue(number),
            True,
            False,
            {"x-queue-type": "stream", "x-max-age": "7D", "x-max-length-bytes": 20_000_000_000},
            ((PARTITIONS, str(number)),),
        )
        for number in range(partitions)
    ]
    return retries + streams


@dataclass(frozen=True)
class Permissions:
    """A RabbitMQ user's permissions on the virtual host, as regular expressions."""

    configure: str
    write: str
    read: str
    topics: tuple[tuple[str, str, str], ...]
    """(exchange, write, read) patterns of routing keys on topic exchanges."""


_SERVICES = (P.CLIENT, P.TASK, P.AUTOSPEC, P.DETECTOR, P.PREDICTOR, P.HEALER)


def permissions(principal: Principal) -> Permissions:
    """What ``principal``'s broker user may do, no more than its rows need."""
    if principal is P.OPERATOR:
        return Permissions(".*", ".*", ".*", ())
    publishes = [route for route in ROUTES if principal in route.publishers]
    consumes = [route for routes in subscriptions(principal).values() for route in routes]
    own = [_queue_regex(name) for name in _own_queues(principal)]
    to = [route.exchange for route in publishes]
    come_from = [route.exchange for route in consumes]
    if principal is P.OUTSIDE:
        own, come_from = [r"outside\..+", r"amq\.gen.*"], [ALERTS, JOBS]
    if principal is PARTITION_PUBLISHER:
        to.append(PARTITIONS)
    if principal in PARTITION_CONSUMERS:
        own.append(rf"owner\.{principal}\.\d+")
    configure, write, read = own[:], own + _escaped(to), own + _escaped(come_from)
    if principal in (*_SERVICES, P.AGENT):
        write += [re.escape(DEAD_LETTERS), r"retry\.\d+s"]
        read += [re.escape(DEAD_LETTERS)]
    if principal in _SERVICES:
        # Every service declares what all rely on, whoever is first.
        configure += [*_escaped(exchanges()), r"retry\.\d+s", r"metrics\.\d+"]
        write += [r"metrics\.\d+", r"amq\.default"]
        read += [re.escape(PARTITIONS), r"retry\.\d+s", r"metrics\.\d+"]
    return Permissions(
        _any(configure),
        _any(write),
        _any(read),
        tuple(_topic_permissions(principal, publishes, consumes)),
    )


@dataclass(frozen=True)
class Grant:
    """A right on a queue or exchange, or on one routing key of an exchange; ``*`` is a wildcard."""

    right: Literal["configure", "write", "read"]
    resource: str
    key: str = ""


def grants(principal: Principal, word: str) -> list[Grant]:
    """What the instances need whose queues and routing keys carry ``word``: no other's."""
    own = [name.format(instance=f"{word}.*") for name in subscriptions(principal)]
    found = [Grant(right, name) for name in own for right in ("configure", "write", "read")]
    for route in ROUTES:
        if principal in route.publishers:
            found.append(Grant("write", route.exchange, route.binding(word)))
        if principal in _readers(route):
            found.append(Grant("read", route.exchange, route.binding(word)))
    return found


def _escaped(names: Iterable[str]) -> list[str]:
    return [re.escape(name) for name in names]


def _own_queues(principal: Principal) -> Iterator[str]:
    for name, routes in subscriptions(principal).items():
        yield name
        kinds = {s.kind for r in routes for s in r.consumers if s.queue == name}
        if QueueKind.QUORUM in kinds:
            yield dead_letter_name(name)
    if principal in PARTITION_CONSUMERS:
        yield dead_letter_name(partitions_of(principal))


def _queue_regex(name: str) -> str:
    return re.escape(name).replace(re.escape("{instance}"), r"[A-Za-z0-9_.:-]+")


def _topic_permissions(
    principal: Principal, publishes: Iterable[Route], consumes: Iterable[Route]
) -> Iterator[tuple[str, str, str]]:
    if principal is P.OUTSIDE:
        # Doors for subscribers: job events and alerts, to read with patterns of their own.
        consumes = [r for r in ROUTES if P.TASK in r.publishers and P.CLIENT in _readers(r)]
        consumes += [route_of(c.AlertChanged)]
    publishes, consumes = list(publishes), list(consumes)
    for exchange in (JOBS, ALERTS, METRICS):
        write = [_key_regex(r) for r in publishes if r.exchange == exchange]
        read = [_key_regex(r) for r in consumes if r.exchange == exchange]
        if principal is P.OUTSIDE and read:
            # A binding is checked as written, so patterns must be allowed, too.
            read += [rf"{word}\..*" for word in dict.fromkeys(p.split("\\")[0] for p in read)]
        yield exchange, _any(write), _any(read)


def _readers(route: Route) -> set[Principal]:
    return {sub.principal for sub in route.consumers}


def _key_regex(route: Route) -> str:
    key = re.escape(route.key_prefix)
    return rf"{key}\..+" if route.words else key


def _any(patterns: Iterable[str]) -> str:
    joined = "|".join(dict.fromkeys(patterns))
    return f"^({joined})$" if joined else "^$"
