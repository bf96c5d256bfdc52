"""The topology: one table of who publishes what to whom, from which all else is derived.

Exchanges, queues, bindings, retry and dead-letter queues, each principal's permissions, the
AsyncAPI document and the picture in the README all come from ``ROUTES``. A principal that
publishes or consumes outside its rows is refused at run time, by us and by the broker.

Each principal publishes to an exchange that nobody else may write to, and a queue is bound to the
exchanges of exactly those whose messages it is for. So the exchange a message came over says who
sent it, and no binding, alternate exchange or dead-letter exchange leads from one to another.
"""

from shared.topology.permissions import (
    SUBSCRIBERS_QUEUES,
    Grant,
    Permissions,
    grants,
    permissions,
)
from shared.topology.principals import Principal
from shared.topology.queues import (
    PARTITION_CONSUMERS,
    PARTITION_PUBLISHER,
    PARTITIONS,
    REPLICAS,
    RETRY_DELAYS_S,
    Exchange,
    Queue,
    dead_letter_name,
    exchanges,
    outlet_queues,
    own_queues_exchange,
    partition_of,
    partition_queue,
    partition_queues,
    partitions_of,
    retry_exchange,
    retry_queues,
    work_queues,
)
from shared.topology.route import QueueKind, Route, Subscription
from shared.topology.routes import (
    ALERTS,
    HEALING,
    JOB_EVENTS,
    JOBS,
    METRICS,
    ROUTES,
    from_exchange,
    is_exclusive,
    may_publish,
    publishing_exchange,
    route_of,
    sender,
    sources,
    subscriptions,
)

__all__ = [
    "ALERTS",
    "HEALING",
    "JOBS",
    "JOB_EVENTS",
    "METRICS",
    "PARTITIONS",
    "PARTITION_CONSUMERS",
    "PARTITION_PUBLISHER",
    "REPLICAS",
    "RETRY_DELAYS_S",
    "ROUTES",
    "SUBSCRIBERS_QUEUES",
    "Exchange",
    "Grant",
    "Permissions",
    "Principal",
    "Queue",
    "QueueKind",
    "Route",
    "Subscription",
    "dead_letter_name",
    "exchanges",
    "from_exchange",
    "grants",
    "is_exclusive",
    "may_publish",
    "outlet_queues",
    "own_queues_exchange",
    "partition_of",
    "partition_queue",
    "partition_queues",
    "partitions_of",
    "permissions",
    "publishing_exchange",
    "retry_exchange",
    "retry_queues",
    "route_of",
    "sender",
    "sources",
    "subscriptions",
    "work_queues",
]
