"""Consuming with manual acks: batches go to a bounded pool, acks come back in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic

from shared.messaging.crash_marks import CrashMarks
from shared.messaging.envelope import Delivery
from shared.messaging.handling import PAUSES_S, HandleBatch, Handling, Outcome
from shared.messaging.holding import Holding
from shared.messaging.link import Link

log = structlog.get_logger(__name__)
T = TypeVar("T")


class QueueConsumer:
    """Consumes one queue on a channel of its own.

    Every delivery is passed to ``handle`` in a batch, in a worker thread. Deliveries that arrive
    while ``concurrency`` batches are being handled form the next one: the busier, the larger. When
    ``handle`` returns, the batch is acked. When it raises ``Unavailable``, the batch is kept and
    handled again after a pause, for as long as the outage lasts. What raises anything else, alone
    and repeatedly, the broker dead-letters. With ``restart_on_failure`` the channel is closed
    and set up again instead: a stream takes nothing back. Batches of one consumer run in parallel
    only with ``concurrency`` > 1. ``before`` prepares each new channel and calls its second
    argument, in the link's thread, when it is ready. ``marks`` remember over which message the
    process died. ``broker_name`` gives the queue's name at the broker if it is another. One made
    ``suspended`` waits for ``begin`` or ``resume``. ``pool`` runs the batches one after the other.
    After each batch the next one, unless it is full, gathers for ``gather_s``: it costs little more
    than a smaller one, and what comes after a pause does not wait.
    """

    def __init__(
        self,
        queue: str,
        handle: HandleBatch,
        *,
        prefetch: int = 500,
        batch: int = 200,
        concurrency: int = 1,
        arguments: Callable[[], dict[str, Any]] | None = None,
        before: Callable[[Channel, Callable[[], None]], None] | None = None,
        restart_on_failure: bool = False,
        marks: CrashMarks | None = None,
        pauses_s: Sequence[float] = PAUSES_S,
        broker_name: Callable[[], str] | None = None,
        suspended: bool = False,
        pool: Executor | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self.queue = queue
        self._broker_name = broker_name or (lambda: queue)
        self.handling = Handling(queue, handle, marks, pauses_s)
        self._holding = Holding(prefetch)
        self._batch = batch
        self._gather_s, self._gathering = gather_s, False
        self._concurrency = concurrency
        self._arguments = arguments
        self._before = before
        self._restart_on_failure = restart_on_failure
        self._pool = pool or ThreadPoolExecutor(concurrency, thread_name_prefix=f"handle-{queue}")
        self._suspended = suspended
        self._opening = 0
        self._opened: Channel | None = None
        self._link: Link | None = None
        self._channel: Channel | None = None
        self._tag = ""
        self._buffer: list[Delivery] = []
        self._flush_planned = False
        self._unsettled: dict[int, bool] = {}
        self._in_flight = 0
        self._idle = threading.Condition()
        self._stopping = False
        self.last_close = ""
        self._deaf_since: float | None = None

    def connected(self, link: Link) -> None:
        self._link = link
        self._deaf_since = time.monotonic()
        self._open()

    def disconnected(self) -> None:
        self._channel = self._opened = None
        self._deaf_since = None
        # A batch that was planned on a lost connection is never run.
        self._flush_planned = self._gathering = False
        self._buffer.clear()
        self._unsettled.clear()
        self._holding.clear()

    @property
    def deaf_s(self) -> float:
        """The time for which the connection has been open without this queue being consumed."""
        since = self._deaf_since
        waits = self._suspended or self._before is not None
        return 0.0 if since is None or waits else time.monotonic() - since

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run ``function`` in the pool the batches are handled in."""
        return self._pool.submit(function)

    def stop(self, timeout_s: float) -> bool:
        """Stop consuming, and finish and ack current work; False if that did not end in time."""
        with self._idle:
            self._stopping = True
        self.handling.stopped.set()
        if self._link is not None:
            self._link.call(self._cancel)
        with self._idle:
            finished = self._idle.wait_for(lambda: self._in_flight == 0, timeout_s)
        self._pool.shutdown(wait=finished, cancel_futures=True)
        return finished

    def begin(self) -> None:
        """Consume from now on, or from the next connection on; from any thread.

        One that consumes already is left alone.
        """
        self._suspended = False
        if self._link is not None:
            self._link.call(self._begin)

    def _begin(self) -> None:
        if self._opened is None and not self._suspended:
            self.resume()

    def resume(self) -> None:
        """Consume again after ``suspend``; only from the link's thread."""
        self._suspended = False
        if self._link is not None and self._link.up:
            self._deaf_since = time.monotonic()
        self._open()

    def suspend(self) -> None:
        """Take nothing more until ``resume``; only from the link's thread.

        A batch in work is finished; what is submitted now runs after it. The channel is closed.
        """
        self._suspended = True
        self._close_opened()

    def _close_opened(self) -> None:
        self._opening += 1
        channel = self._opened
        self.disconnected()
        if channel is not None and channel.is_open:
            channel.close()

    def _open(self) -> None:
        if self._link is None or self._stopping or self._suspended:
            return
        waits_since = self._deaf_since
        # A second channel would receive messages that are never handled.
        self._close_opened()
        self._deaf_since = waits_since
        number = self._opening
        self._link.open_channel(lambda channel: self._on_channel(channel, number))

    def _cancel(self) -> None:
        self._buffer.clear()
        if self._channel is not None and self._channel.is_open and self._tag:
            self._channel.basic_cancel(self._tag)

    def _on_channel(self, channel: Channel, number: int) -> None:
        if number != self._opening:
            # It was suspended or reopened in the meantime.
            channel.close()
            return
        self._opened = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda _frame: channel.close())
        if self._before is not None:
            self._before(channel, lambda: self._consume(channel))
        else:
            self._consume(channel)

    def _consume(self, channel: Channel) -> None:
        def start(_frame: object) -> None:
            if not self._is_opened(channel):
                return
            self._channel = channel
            self._deaf_since = None
            arguments = self._arguments() if self._arguments else {}
            self._tag = channel.basic_consume(
                self._broker_name(), self._on_message, auto_ack=False, arguments=arguments
            )

        if self._is_opened(channel):
            channel.basic_qos(prefetch_count=self._holding.prefetch, callback=start)

    def _is_opened(self, channel: Channel) -> bool:
        return channel is self._opened

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        self.last_close = str(reason)
        if not self._is_opened(channel):
            return
        self.disconnected()
        self._deaf_since = time.monotonic()
        if self._link is not None and not self._stopping and self._link.up:
            log_at = log.debug if self._before else log.warning
            log_at("channel_closed", queue=self.queue, reason=self.last_close)
            number = self._opening
            self._link.later(2.0, lambda: self._open() if number == self._opening else None)

    def _on_message(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        if self._stopping:
            return
        if self._channel is None or channel is not self._channel:
            # Messages sent to a channel that is no longer ours go back to the queue.
            if channel.is_open:
                channel.close()
            return
        # A partition's channel is its lock as well, and only the gateway writes to its stream.
        if self._holding.take(method.delivery_tag, len(body)) and self._before is None:
            log.warning("prefetch_changed", queue=self.queue, prefetch=self._holding.prefetch)
            channel.close()
            return
        self._unsettled[method.delivery_tag] = False
        self._buffer.append(
            Delivery(
                self.queue,
                method.delivery_tag,
                method.exchange,
                method.routing_key,
                properties.headers or {},
                properties.message_id,
                properties.content_type,
                body,
                method.redelivered,
            )
        )
        if len(self._buffer) >= self._batch:
            self._flush()
        elif not self._flush_planned:
            # After the frames already read from the socket: that is the natural batch.
            self._flush_planned = True
            channel.connection.ioloop.add_callback_threadsafe(self._planned_flush)

    def _planned_flush(self) -> None:
        self._flush_planned = False
        self._flush()

    def _flush(self) -> None:
        while self._channel is not None and self._buffer:
            if self._gathering and len(self._buffer) < self._batch:
                return
            # The pool of a consumer that was stopped takes nothing: it is asked under the lock.
            with self._idle:
                if self._stopping or self._in_flight >= self._concurrency:
                    return
                batch, self._buffer = self._buffer[: self._batch], self._buffer[self._batch :]
                self._in_flight += 1
                self._pool.submit(self._work, self._channel, batch)

    def _work(self, channel: Channel, batch: list[Delivery]) -> None:
        link = self._link
        outcome = Outcome()
        try:
            outcome = self._outcome(channel, batch)
        except Exception:
            # Nobody looks at what becomes of a pool's work; the batch is given back below.
            log.exception("batch_not_settled", queue=self.queue, size=len(batch))
        finally:
            known = {*outcome.done, *outcome.set_aside}
            left = [delivery.tag for delivery in batch if delivery.tag not in known]
            if link is not None:
                link.call(lambda: self._settled(channel, outcome))
                if left:
                    link.call(lambda: self._give_back(channel, left))
            with self._idle:
                self._in_flight -= 1
                self._idle.notify_all()
            if link is not None:
                link.call(self._gather)

    def _gather(self) -> None:
        """Let the next batch begin: at once if it is full, otherwise when it has gathered."""
        if self._gather_s and self._link is not None:
            self._gathering = True
            self._link.later(self._gather_s, self._gathered)
        self._flush()

    def _gathered(self) -> None:
        self._gathering = False
        self._flush()

    def _outcome(self, channel: Channel, batch: list[Delivery]) -> Outcome:
        if self._channel is None or channel is not self._channel:
            return Outcome()
        if self._restart_on_failure:
            handled = self.handling.once(batch)
            return Outcome(done=[d.tag for d in batch] if handled else [])
        return self.handling.settle(batch, lambda: channel is self._channel)

    def _serves(self, channel: Channel) -> bool:
        """Return whether this is the current, open channel; tags of older ones are invalid."""
        current = self._channel
        return current is not None and current is channel and bool(current.is_open)

    def _settled(self, channel: Channel, outcome: Outcome) -> None:
        if not self._serves(channel):
            return
        for tag in outcome.set_aside:
            del self._unsettled[tag]
            self._holding.settle(tag)
            channel.basic_nack(tag, requeue=False)
        for tag in outcome.done:
            self._unsettled[tag] = True
        # Ack up to the first one still in work: one frame for many messages.
        last = 0
        for tag, done in self._unsettled.items():
            if not done:
                break
            last = tag
        if last:
            for tag in [t for t in self._unsettled if t <= last]:
                del self._unsettled[tag]
                self._holding.settle(tag)
            channel.basic_ack(last, multiple=True)
            if self._link is not None:
                self._link.worked()

    def _give_back(self, channel: Channel, tags: list[int]) -> None:
        def requeue() -> None:
            if not self._serves(channel):
                return
            if self._restart_on_failure:
                channel.close()
            else:
                for tag in tags:
                    if self._unsettled.pop(tag, None) is not None:
                        self._holding.settle(tag)
                        channel.basic_nack(tag, requeue=True)

        if self._link is not None:
            self._link.later(1.0, requeue)
