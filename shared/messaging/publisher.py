"""Publishing with confirms: a batch is done when the broker has every message of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from shared.messaging.errors import BrokerUnavailable, Unroutable
from shared.messaging.link import Link

_WINDOW = 2_000
"""Unconfirmed messages at most; more wait here, not in the broker's memory."""

_NACK_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message ready to be published."""

    exchange: str
    routing_key: str
    body: bytes
    message_id: str
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    mandatory: bool = True


@dataclass(eq=False, slots=True)
class _Batch:
    messages: Sequence[Outgoing]
    done: threading.Event
    waiting: int
    unroutable: list[str]
    refused: int = 0
    given_up: bool = False


class ConfirmingPublisher:
    """Publishes batches; blocks the caller, never the link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._queue: deque[tuple[_Batch, int]] = deque()
        self._outstanding: dict[int, tuple[_Batch, int]] = {}
        self._returned: dict[str, int] = {}
        self._sequence = 0
        self._lock = threading.Lock()
        link.add(self)

    def publish(self, messages: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        """Return when the broker has confirmed all ``messages``; sends again after a lost link.

        Raises:
            Unroutable: when a mandatory message had no queue (the others are published).
            BrokerUnavailable: when no confirm came within ``timeout_s``, or the broker
                closed the channel over it.
        """
        if not messages:
            return
        batch = _Batch(messages, threading.Event(), len(messages), [])
        with self._lock:
            self._queue.extend([(batch, index) for index in range(len(messages))])
        self._link.call(self._pump)
        if not batch.done.wait(timeout_s):
            batch.given_up = True
            raise BrokerUnavailable(
                f"no confirm within {timeout_s:g} s; last error: {self._link.last_error or '-'}"
            )
        if batch.refused:
            raise BrokerUnavailable(f"the broker refused {batch.refused} of {len(messages)}")
        if batch.unroutable:
            raise Unroutable("no queue for " + ", ".join(batch.unroutable[:5]))

    def connected(self, link: Link) -> None:
        link.open_channel(self._on_channel)

    def disconnected(self) -> None:
        """Everything not confirmed is sent again on the next connection."""
        self._channel = None
        with self._lock:
            again = [self._outstanding[key] for key in sorted(self._outstanding)]
            self._queue.extendleft(reversed(again))
            self._outstanding.clear()
            self._returned.clear()

    def _on_channel(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._ready(channel))

    def _ready(self, channel: Channel) -> None:
        self._channel, self._sequence = channel, 0
        self._pump()

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        # The broker closes a channel for an error of ours, e.g. a forbidden exchange. The
        # messages on it are failed, not sent again: they would close the next one as well.
        # A channel that goes with its connection is another matter: see ``disconnected``.
        if channel is not self._channel or not isinstance(reason, ChannelClosedByBroker):
            return
        self._channel = None
        self._link.last_error = str(reason)
        for batch, _ in self._outstanding.values():
            batch.refused += 1
            batch.done.set()
        self._outstanding.clear()
        self._link.open_channel(self._on_channel)

    def _pump(self) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        while self._queue and len(self._outstanding) < _WINDOW:
            batch, index = self._queue.popleft()
            if batch.given_up or batch.done.is_set():
                continue
            self._sequence += 1
            self._outstanding[self._sequence] = (batch, index)
            message = batch.messages[index]
            channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                BasicProperties(
                    content_type=message.content_type,
                    headers=message.headers,
                    delivery_mode=2,
                    message_id=message.message_id,
                ),
                mandatory=message.mandatory,
            )

    def _on_return(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        key = f"{properties.message_id} {method.routing_key}"
        self._returned[key] = self._returned.get(key, 0) + 1

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        tag, positive = frame.method.delivery_tag, isinstance(frame.method, Basic.Ack)
        if frame.method.multiple:
            settled = [key for key in self._outstanding if key <= tag]
        else:
            settled = [tag] if tag in self._outstanding else []
        for key in settled:
            batch, index = self._outstanding.pop(key)
            if positive:
                self._settle(batch, batch.messages[index])
            else:
                # A queue that cannot take it just now, e.g. while its leader moves.
                self._queue.append((batch, index))
        if positive:
            self._pump()
        else:
            self._link.later(_NACK_PAUSE_S, self._pump)

    def _settle(self, batch: _Batch, message: Outgoing) -> None:
        if self._returned:
            key = f"{message.message_id} {message.routing_key}"
            if self._returned.pop(key, 0):
                batch.unroutable.append(f"{message.exchange}/{message.routing_key}")
        batch.waiting -= 1
        if batch.waiting <= 0:
            batch.done.set()
