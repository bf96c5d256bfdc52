"""The live replicas of a service: each publishes heartbeats on the service's exchange.

Heartbeats only say who should work on what. Who does is the broker's to say, by its locks: a
heartbeat that is late, lost or doubled moves work, and never gives it to two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

import structlog
from pika import BasicProperties, spec
from pika.channel import Channel
from pika.frame import Method
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.messaging.kept_channel import KeptChannel
from shared.messaging.link import Link
from shared.topology import REPLICAS, Principal, own_queues_exchange

log = structlog.get_logger(__name__)

BEAT_S = 1.0
"""The time between two heartbeats of a replica."""
FORGET_S = 5.0
"""A replica not heard for so long counts as gone."""
SETTLE_S = 1.0
"""The time for which a replica, after its own first heartbeat, waits to hear of the others."""
_DEAF_S = 5.0
"""A replica that does not even hear itself for so long goes on as if it were alone."""


class Heartbeat(BaseModel):
    """A replica's report of itself."""

    model_config = ConfigDict(frozen=True)

    replica: str = Field(min_length=1, max_length=255)
    holds: tuple[int, ...] = Field(default=(), max_length=256)
    """The partitions whose locks it has."""
    leaving: bool = False


@dataclass(frozen=True)
class _Heard:
    at: float
    holds: frozenset[int]
    leaving: bool


class Membership:
    """Publishes this replica's heartbeats, and knows which others are alive.

    All methods but ``beat`` and ``leave`` run in the thread of the consuming connection.

    Args:
        principal: the service; its replicas hear each other.
        instance: this replica's name. Two that were given the same name are still two.
        publishing: the connection for heartbeats: publishing on the other one would let the
            broker throttle its acks.
        clock: seconds that never go back.
        token: what tells this process from others of the same name.
    """

    def __init__(
        self,
        principal: Principal,
        instance: str,
        publishing: Link,
        clock: Callable[[], float] = time.monotonic,
        token: str = "",
    ) -> None:
        self.own = f"{instance[:200]}/{token or uuid4().hex[:8]}"
        self._exchange = own_queues_exchange(principal)
        self._clock = clock
        self._voice = KeptChannel()
        publishing.add(self._voice)
        self._link: Link | None = None
        self._heard: dict[str, _Heard] = {}
        self._connected_at: float | None = None
        self._echo_at: float | None = None
        self.leaving = False
        """True if this replica takes no share any more."""
        self.error = ""
        """The broker's reason to refuse heartbeats, if it does."""
        self.holds: Callable[[], Iterable[int]] = tuple
        self.changed: Callable[[], None] = lambda: None
        """Called whenever shares may have changed, and at least with every heartbeat."""
        self.lost: Callable[[], None] = lambda: None
        """Called when the connection, and all locks with it, is gone."""

    @property
    def alive(self) -> frozenset[str]:
        """The names of the replicas that share the work, this one included unless it leaves."""
        others = [name for name, heard in list(self._heard.items()) if not heard.leaving]
        return frozenset(others if self.leaving else [*others, self.own])

    @property
    def held_elsewhere(self) -> frozenset[int]:
        """The partitions whose locks other living replicas say they have."""
        return frozenset().union(*(heard.holds for heard in self._heard.values()))

    @property
    def settled(self) -> bool:
        """True if this replica has had time to hear of the others."""
        now, since = self._clock(), self._connected_at
        if since is None:
            return False
        heard = self._echo_at is not None and now - self._echo_at >= SETTLE_S
        return heard or now - since >= _DEAF_S

    def connected(self, link: Link) -> None:
        self._link = link
        self._heard.clear()
        self._connected_at, self._echo_at = self._clock(), None
        link.open_channel(self._listen)
        self._tick()

    def disconnected(self) -> None:
        self._link = self._connected_at = self._echo_at = None
        self._heard.clear()
        self.lost()

    def beat(self) -> None:
        """Publish to the others how things are now."""
        said = Heartbeat(replica=self.own, holds=tuple(self.holds()), leaving=self.leaving)
        body = said.model_dump_json().encode()
        # A heartbeat that cannot be sent now is dropped: the next one comes soon.
        self._voice.call(lambda channel: channel.basic_publish(self._exchange, REPLICAS, body))

    def leave(self) -> None:
        """Give up this replica's share; the others hear of it at once."""
        self.leaving = True
        self.beat()

    def _tick(self) -> None:
        if self._link is None:
            return
        now = self._clock()
        for name, heard in list(self._heard.items()):
            if now - heard.at > FORGET_S:
                log.info("replica_gone", replica=name)
                del self._heard[name]
        self.beat()
        self.changed()
        self._link.later(BEAT_S, self._tick)

    def _listen(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_closed)

        def declared(frame: Method[spec.Queue.DeclareOk]) -> None:
            queue = frame.method.queue
            channel.queue_bind(
                queue, self._exchange, routing_key=REPLICAS, callback=lambda _: bound(queue)
            )

        def bound(queue: str) -> None:
            self.error = ""
            channel.basic_consume(queue, self._on_message, auto_ack=True)
            self.beat()

        channel.queue_declare("", exclusive=True, callback=declared)

    def _on_closed(self, _channel: Channel, reason: Exception) -> None:
        if self._link is None or not self._link.up:
            return
        self.error = str(reason)
        log.error("replicas_not_heard", reason=self.error)
        link = self._link
        link.later(_DEAF_S, lambda: link.open_channel(self._listen))

    def _on_message(
        self, _channel: Channel, _method: spec.Basic.Deliver, _: BasicProperties, body: bytes
    ) -> None:
        try:
            said = Heartbeat.model_validate_json(body)
        except ValidationError as error:
            log.warning("heartbeat_refused", reason=str(error)[:200])
            return
        if said.replica == self.own:
            self._echo_at = self._echo_at or self._clock()
            return
        known = said.replica in self._heard
        self._heard[said.replica] = _Heard(self._clock(), frozenset(said.holds), said.leaving)
        if not known and not said.leaving:
            log.info("replica_found", replica=said.replica)
            self.beat()
        self.changed()
