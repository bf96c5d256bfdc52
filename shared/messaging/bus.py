"""The bus: everything a service needs from the broker, in the platform's terms."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from shared import topology, traces
from shared.contracts import Message
from shared.messaging.claim import Claim
from shared.messaging.consumer import QueueConsumer
from shared.messaging.crash_marks import CrashMarks
from shared.messaging.declare import Declarer
from shared.messaging.depth import DeadLetterDepth
from shared.messaging.envelope import PARTITION_COUNT, PUBLISHED_MS, Envelope, headers_for
from shared.messaging.errors import BrokerUnavailable, NotInTopology, Unpublishable
from shared.messaging.handling import HandleBatch
from shared.messaging.limits import Outgoing, fault_of
from shared.messaging.link import Address, Link
from shared.messaging.membership import Membership
from shared.messaging.publisher import ConfirmingPublisher
from shared.messaging.stream_end import StreamEnd
from shared.messaging.stream_head import StreamHead
from shared.messaging.stream_peek import StreamPeek
from shared.topology import (
    PARTITION_PUBLISHER,
    PARTITIONS,
    Principal,
    partition_queue,
)

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


class Publisher(Protocol):
    """The interface for code that only publishes."""

    def publish(self, messages: Iterable[Message], *, cause: Envelope | None = None) -> None:
        """Return once the broker has confirmed every message."""


class Bus:
    """One principal's connection to the broker.

    Two links are kept, one to publish and one to consume, as RabbitMQ advises: when the broker
    throttles publishers it stops reading from their connection, and acks must not be stuck
    behind that.

    Args:
        url: the broker's URL, or a function that returns it.
        principal: the principal whose rows of the topology apply.
        instance: this replica's name.
        word: the word of routing keys that addresses this instance; by default the instance.
        partitions: the number of sample streams.
        state_dir: the directory for files that record over which message the process died;
            without it nothing outlives the process.
    """

    def __init__(
        self,
        url: Address,
        principal: Principal | str,
        instance: str = "0",
        *,
        word: str = "",
        partitions: int = 4,
        state_dir: Path | None = None,
    ) -> None:
        self.principal = Principal(principal)
        self.instance = instance
        self._state_dir, self._partitions = state_dir, partitions
        self._source = f"/barograph/{self.principal}/{instance}"
        name = f"{self.principal}-{instance}"
        self._out = Link(url, f"{name}-publish")
        self._in = Link(url, f"{name}-consume")
        self._declarer = Declarer(self.principal, instance, word, partitions)
        self._in.add(self._declarer)
        self._publisher = ConfirmingPublisher(self._out)
        self._consumers: list[QueueConsumer] = []
        self._consuming = False

    @property
    def ready(self) -> bool:
        """True if the connections are open and everything is declared."""
        return self._out.up and (self._declarer.done.is_set() or not self._consuming)

    @property
    def alive(self) -> bool:
        """True if the threads that own the connections still run."""
        return self._out.alive and (self._in.alive or not self._consuming)

    @property
    def links(self) -> dict[str, Link]:
        """The connections in use, by purpose."""
        return {"publishing": self._out} | ({"consuming": self._in} if self._consuming else {})

    @property
    def consumers(self) -> Sequence[QueueConsumer]:
        """The consumers of this bus."""
        return tuple(self._consumers)

    @property
    def outage(self) -> str:
        """The unavailable part for which handlers wait; empty while they do not wait."""
        waits = (consumer.handling.outage for consumer in self._consumers)
        return next(filter(None, waits), "")

    @property
    def blocked(self) -> str:
        """Return why the connected broker accepts no messages now; empty if it does."""
        return self._out.blocked

    @property
    def unconfirmed_s(self) -> float:
        """The time for which the broker has confirmed none of our published messages."""
        return self._publisher.unconfirmed_s

    @property
    def last_error(self) -> str:
        """Return why the connection was last lost, or what could not be declared; for people."""
        return self._declarer.error or self._out.last_error or self._in.last_error

    def start(self, *, consume: bool = True) -> None:
        """Connect in the background; a publisher alone needs no consuming connection."""
        self._consuming = consume
        self._out.start()
        if consume:
            self._in.start()

    def wait_ready(self, timeout_s: float = 180.0) -> None:
        """Wait until ``ready``.

        Raises:
            BrokerUnavailable: when it is not in time, with the last error.
        """
        up = self._out.wait_up(timeout_s)
        if self._consuming:
            up = self._declarer.done.wait(timeout_s) and up
        if not up:
            raise BrokerUnavailable(f"not ready within {timeout_s:g} s: {self.last_error or '-'}")

    def stop(self, timeout_s: float = 25.0) -> None:
        """Finish the deliveries in hand, acknowledge them, close."""
        for consumer in self._consumers:
            consumer.stop(timeout_s)
        if self._consuming:
            self._in.stop()
        self._out.stop()

    def publish(
        self,
        messages: Iterable[Message],
        *,
        cause: Envelope | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Publish and wait for the confirms.

        Raises:
            NotInTopology: when this principal may not publish such a message.
            Unpublishable: when some break their contract or AMQP's limits; the others are
                published.
            Unroutable: when a message that must be received has no queue.
            BrokerUnavailable: when the broker did not confirm in time.
        """
        outgoing: list[Outgoing] = []
        faults: dict[int, str] = {}
        for number, message in enumerate(messages):
            try:
                outgoing.append(self.prepare(message, cause))
            except Unpublishable as error:
                faults[number] = str(error)
        self._publisher.publish(outgoing, timeout_s)
        if faults:
            raise Unpublishable(faults)

    def prepare(self, message: Message, cause: Envelope | None = None) -> Outgoing:
        """``message`` in its envelope, not yet published.

        It is parsed as its receiver will parse it, and measured against AMQP's limits: an invalid
        value that was never validated, such as NaN, must not leave.

        Raises:
            NotInTopology: when this principal may not publish such a message.
            Unpublishable: when it breaks its own contract or AMQP's limits.
        """
        if not topology.may_publish(self.principal, type(message)):
            raise NotInTopology(f"{self.principal} may not publish {message.TYPE}")
        route = topology.route_of(type(message))
        try:
            body = message.model_dump_json(warnings=False).encode()
            type(message).model_validate_json(body)
            message_id = message.message_id()
            key = message.routing_key()
        except (ValueError, TypeError) as error:
            reason = f"{message.TYPE} breaks its own contract: {str(error)[:500]}"
            raise Unpublishable({0: reason}) from error
        outgoing = Outgoing(
            exchange=topology.publishing_exchange(self.principal, route),
            routing_key=key,
            body=body,
            message_id=message_id,
            headers=headers_for(message, message_id, self._source, cause),
            mandatory=route.mandatory,
        )
        if fault := fault_of(outgoing):
            raise Unpublishable({0: f"{message.TYPE}: {fault}"})
        return outgoing

    def publish_prepared(self, outgoing: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        """Publish what ``prepare`` made; raises as ``publish`` does."""
        self._publisher.publish(outgoing, timeout_s)

    def publish_partitions(
        self, batches: Sequence[tuple[int, bytes, str]], *, timeout_s: float = 60.0
    ) -> None:
        """Append Arrow batches, each (partition, body, message id), and wait for all confirms."""
        if self.principal is not PARTITION_PUBLISHER:
            raise NotInTopology(f"{self.principal} may not publish samples to partitions")
        now = time.time_ns() // 1_000_000
        headers: dict[str, Any] = {PUBLISHED_MS: now, PARTITION_COUNT: self._partitions}
        if cause := traces.current():
            headers["traceparent"] = cause
        messages = [
            Outgoing(PARTITIONS, str(partition), body, message_id, headers, ARROW)
            for partition, body, message_id in batches
        ]
        self._publisher.publish(messages, timeout_s)

    def consume(
        self,
        queue: str,
        handle: HandleBatch,
        *,
        prefetch: int = 500,
        batch: int = 200,
        concurrency: int = 1,
        suspended: bool = False,
        gather_s: float = 0.0,
    ) -> QueueConsumer:
        """Hand every delivery of one of this principal's queues to ``handle``.

        A ``suspended`` one waits for its ``begin``; ``gather_s`` as for `QueueConsumer`.

        Raises:
            NotInTopology: when the queue is not one of this principal's.
        """
        names = {p.format(instance=self.instance) for p in topology.subscriptions(self.principal)}
        if queue not in names:
            raise NotInTopology(f"{self.principal} may not consume {queue}")
        consumer = QueueConsumer(
            queue,
            handle,
            prefetch=prefetch,
            batch=batch,
            concurrency=concurrency,
            marks=self.marks(queue),
            broker_name=lambda: self._declarer.name_of(queue),
            suspended=suspended,
            gather_s=gather_s,
        )
        self.attach(consumer)
        return consumer

    def claim(self, consumer: QueueConsumer) -> Claim:
        """Let a suspended consumer begin only where no other process has its queue."""
        claim = Claim(consumer)
        self._declarer.add(claim)
        return claim

    def marks(self, queue: str) -> CrashMarks:
        """The file that records over which message of ``queue`` this instance died."""
        return CrashMarks(self.state_file(f"{queue}.json"))

    def state_file(self, name: str) -> Path | None:
        """A file of this instance that outlives the process, if it may have any."""
        if self._state_dir is None:
            return None
        own = quote(f"{self.principal}-{self.instance}-{name}", safe="")
        return self._state_dir.expanduser() / "in-work" / own

    def attach(self, consumer: QueueConsumer) -> None:
        """Run a consumer on this bus' consuming connection."""
        self._consumers.append(consumer)
        self._declarer.add(consumer)

    def follow_head(self, head: StreamHead) -> None:
        """Let ``head`` look at its stream on this bus' consuming connection."""
        self._declarer.add(head)

    def number_after(self, partition: int, offset: int, timeout_s: float = 5.0) -> int | None:
        """The number of partitions of which the next batch after a stream's ``offset`` is one.

        0: of a gateway that does not say so; None: none has come in time. Not to be called from
        the consuming connection's own thread.
        """
        peek = StreamPeek(self._in, partition_queue(partition), offset + 1)
        headers = peek.headers(timeout_s)
        return None if headers is None else int(headers.get(PARTITION_COUNT, 0))

    def stream_reaches(self, partition: int, offset: int, timeout_s: float = 5.0) -> bool | None:
        """Return whether a partition's stream has reached ``offset``; None if unknown in time.

        Not to be called from the consuming connection's own thread.
        """
        return StreamEnd(self._in, partition_queue(partition), offset).reaches(timeout_s)

    def membership(self) -> Membership:
        """The membership through which the replicas of this principal know each other."""
        membership = Membership(self.principal, self.instance, self._out)
        self._declarer.add(membership)
        return membership

    def dead_letter_depth(self, queues: Sequence[str]) -> DeadLetterDepth:
        """The metric of how many dead letters these own work queues have."""
        depth = DeadLetterDepth(queues)
        self._declarer.add(depth)
        return depth

    @property
    def consuming_link(self) -> Link:
        """The connection that consumers live on."""
        return self._in
