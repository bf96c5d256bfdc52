"""Publishing with confirms: a batch is done when the broker has every message of it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog
from pika import BasicProperties
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker
from pika.frame import Method
from pika.spec import Basic

from shared.messaging.errors import BrokerUnavailable, Refused, Unpublishable, Unroutable
from shared.messaging.limits import EncodedProperties, Outgoing, encoded
from shared.messaging.link import Link

log = structlog.get_logger(__name__)

_WINDOW = 2_000
"""The most unconfirmed messages; further ones wait here, not in the broker's memory."""

_NACK_PAUSE_S = 0.5
_REOPEN_S = 0.1
"""A broker that closes every channel at once is not asked without a pause."""

_MAX_STRIKES = 3
"""The number of connection errors while a message was sent alone that blame the message."""


@dataclass(eq=False, slots=True)
class _Batch:
    waiting: int
    done: threading.Event = field(default_factory=threading.Event)
    confirmed: list[int] = field(default_factory=list)
    """The places of the messages that the broker has accepted for a queue."""
    unroutable: list[str] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    refused: int = 0
    refusal_code: int = 0
    given_up: bool = False

    @property
    def over(self) -> bool:
        """True if its caller no longer waits for it."""
        return self.given_up or self.done.is_set()

    def settle(self) -> None:
        """Count one message less to wait for."""
        self.waiting -= 1
        if self.waiting <= 0:
            self.done.set()


@dataclass(eq=False, slots=True)
class _Entry:
    """A message on its way."""

    batch: _Batch
    index: int
    message: Outgoing
    properties: EncodedProperties
    strikes: int = 0
    """The times the broker closed the connection for an error while this was unconfirmed."""

    def fail(self, reason: str) -> None:
        self.batch.faults[self.index] = reason
        self.batch.settle()

    def drop_content(self) -> None:
        """Keep only what a late confirm needs: it is not sent again, and may be large."""
        self.message = replace(self.message, body=b"", headers={})
        self.properties = encoded(self.message)


class ConfirmingPublisher:
    """Publishes batches; blocks the caller, never the link."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._channel: Channel | None = None
        self._queue: deque[_Entry] = deque()
        self._outstanding: dict[int, _Entry] = {}
        self._returned: dict[str, int] = {}
        self._sequence = 0
        self._silent_since: float | None = None
        self._lock = threading.Lock()
        link.add(self)

    @property
    def unconfirmed_s(self) -> float:
        """The time for which the broker has had messages and has confirmed none of them."""
        since = self._silent_since
        return 0.0 if since is None else self._clock() - since

    def publish(self, messages: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        """Return when the broker has confirmed all ``messages``; sends again after a lost link.

        Raises:
            Unpublishable: when some of them break AMQP's limits (the others are published).
            Unroutable: when a mandatory message had no queue (the others are published).
            Refused: when the broker closed the channel over one of them.
            BrokerUnavailable: when no confirm came within ``timeout_s``.
        """
        batch = _Batch(len(messages))
        entries = []
        for index, message in enumerate(messages):
            try:
                entries.append(_Entry(batch, index, message, encoded(message)))
            except ValueError as error:
                batch.faults[index] = f"{message.exchange}/{message.routing_key[:60]}: {error}"
        batch.waiting = len(entries)
        if entries:
            self._send(batch, entries, timeout_s)
        if batch.refused:
            raise Refused(
                f"the broker refused {batch.refused} of {len(messages)}", batch.refusal_code
            )
        if batch.faults:
            raise Unpublishable(batch.faults)
        if batch.unroutable:
            reason = "no queue for " + ", ".join(batch.unroutable[:5])
            raise Unroutable(reason, batch.confirmed)

    def _send(self, batch: _Batch, entries: Sequence[_Entry], timeout_s: float) -> None:
        with self._lock:
            self._queue.extend(entries)
        self._link.call(self._pump)
        done = batch.done.wait(timeout_s)
        if not done or batch.refused:
            self._give_up(batch, entries)
        if not done:
            raise BrokerUnavailable(
                f"no confirm within {timeout_s:g} s; last error: {self._link.last_error or '-'}",
                tuple(batch.confirmed),
            )

    def _give_up(self, batch: _Batch, entries: Sequence[_Entry]) -> None:
        """Release the rest of a batch, because an outage may outlast many batches."""
        with self._lock:
            batch.given_up = True
            for entry in entries:
                entry.drop_content()
            self._drop_heads()

    def _drop_heads(self) -> None:
        """Drop the next queued messages whose callers have given up; with the lock."""
        while self._queue and self._queue[0].batch.over:
            self._queue.popleft()

    def connected(self, link: Link) -> None:
        link.open_channel(self._on_channel)

    def disconnected(self) -> None:
        """Everything not confirmed is sent again on the next connection."""
        self._channel = self._silent_since = None
        with self._lock:
            again = [self._outstanding[key] for key in sorted(self._outstanding)]
            self._outstanding.clear()
            self._returned.clear()
            if self._link.closed_for_error:
                again = [entry for entry in again if not self._struck(entry)]
            self._queue.extendleft(reversed(again))

    def _struck(self, entry: _Entry) -> bool:
        """Count a connection that the broker closed; whether this message is found to be why."""
        entry.strikes += 1
        if entry.strikes <= _MAX_STRIKES:
            return False
        entry.fail(f"the broker closes the connection over it: {self._link.last_error[:200]}")
        return True

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
        if self._channel not in (channel, None) or not isinstance(reason, ChannelClosedByBroker):
            return
        self._channel = self._silent_since = None
        self._returned.clear()
        self._link.last_error = str(reason)
        for entry in self._outstanding.values():
            entry.batch.refused += 1
            entry.batch.refusal_code = reason.reply_code
            entry.batch.done.set()
        self._outstanding.clear()
        self._link.later(_REOPEN_S, lambda: self._link.open_channel(self._on_channel))

    def _pump(self) -> None:
        channel = self._channel
        if channel is None:
            return
        while len(self._outstanding) < _WINDOW and channel.is_open:
            taken = self._take()
            if taken is None:
                return
            self._publish(channel, *taken)

    def _take(self) -> tuple[_Entry, Outgoing, EncodedProperties] | None:
        """The next message to publish, with its content, which its caller may drop concurrently."""
        with self._lock:
            self._drop_heads()
            if not self._queue:
                return None
            if self._outstanding and (self._queue[0].strikes or self._suspect_out()):
                return None  # A suspect travels alone, so that nobody else is blamed.
            entry = self._queue.popleft()
            return entry, entry.message, entry.properties

    def _suspect_out(self) -> bool:
        return len(self._outstanding) == 1 and any(e.strikes for e in self._outstanding.values())

    def _publish(
        self, channel: Channel, entry: _Entry, message: Outgoing, properties: EncodedProperties
    ) -> None:
        try:
            channel.basic_publish(
                message.exchange,
                message.routing_key,
                message.body,
                properties,
                mandatory=message.mandatory,
            )
        except Exception as error:
            # pika encodes all of a message before it writes any of it, so nothing of this one has
            # left and the broker will not count it. What was not foreseen costs this one alone.
            log.exception("publish_failed", exchange=message.exchange, key=message.routing_key)
            entry.fail(f"it cannot be published: {type(error).__name__}: {str(error)[:200]}")
            return
        self._sequence += 1
        if not self._outstanding:
            self._silent_since = self._clock()
        self._outstanding[self._sequence] = entry

    def _on_return(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        key = f"{properties.message_id} {method.routing_key}"
        self._returned[key] = self._returned.get(key, 0) + 1

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        self._link.worked()
        tag, positive = frame.method.delivery_tag, isinstance(frame.method, Basic.Ack)
        if frame.method.multiple:
            settled = [key for key in self._outstanding if key <= tag]
        else:
            settled = [tag] if tag in self._outstanding else []
        for key in settled:
            entry = self._outstanding.pop(key)
            if positive:
                self._settle(entry)
            else:
                # A queue that cannot take it just now, e.g. while its leader moves.
                self._queue.append(entry)
        if positive:
            self._silent_since = self._clock() if self._outstanding else None
            self._pump()
        else:
            self._link.later(_NACK_PAUSE_S, self._pump)

    def _settle(self, entry: _Entry) -> None:
        message = entry.message
        key = f"{message.message_id} {message.routing_key}" if self._returned else ""
        if key and self._returned.pop(key, 0):
            entry.batch.unroutable.append(f"{message.exchange}/{message.routing_key}")
        else:
            entry.batch.confirmed.append(entry.index)
        entry.batch.settle()
