"""Tests of how deliveries become batches, without a broker."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from shared.messaging.consumer import QueueConsumer
from shared.messaging.envelope import Delivery
from shared.messaging.holding import MAX_HELD_BYTES, NARROW_PREFETCH, Holding
from shared.messaging.link import Link


class OpenChannel:
    """A channel whose loop runs everything at once."""

    is_open = True

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.closed = False
        loop = SimpleNamespace(add_callback_threadsafe=lambda function: function())
        self.connection = SimpleNamespace(ioloop=loop)

    def basic_qos(self, *, prefetch_count: int, callback: Callable[[object], None]) -> None:
        del prefetch_count
        callback(None)

    def basic_consume(self, *_: Any, **__: Any) -> str:
        return "tag"

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        assert multiple
        self.acked.append(tag)

    def close(self) -> None:
        self.closed = True

    def basic_cancel(self, _: str) -> None: ...
    def add_on_close_callback(self, _: object) -> None: ...
    def add_on_cancel_callback(self, _: object) -> None: ...


class OpenLink:
    """A link that is up, with one channel."""

    up = True

    def __init__(self, channel: OpenChannel) -> None:
        self.channel = channel

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        ready(self.channel)

    def call(self, function: Callable[[], None]) -> None:
        function()

    def worked(self) -> None: ...


def test_what_arrives_while_a_batch_is_in_work_becomes_the_next_one() -> None:
    sizes: list[int] = []
    go, begun, done = threading.Event(), threading.Event(), threading.Event()

    def handle(deliveries: Sequence[Delivery]) -> None:
        sizes.append(len(deliveries))
        begun.set()
        assert go.wait(600)
        if sum(sizes) == 8:
            done.set()

    channel = OpenChannel()
    consumer = QueueConsumer("q", handle, batch=5)
    consumer.connected(cast("Link", OpenLink(channel)))
    deliver(consumer, channel, 1)
    assert begun.wait(600)
    for tag in range(2, 9):
        deliver(consumer, channel, tag)
    go.set()
    assert done.wait(600)
    assert consumer.stop(600)

    assert sizes == [1, 5, 2]
    assert channel.acked[-1] == 8


class WaitingLink(OpenLink):
    """A link whose timers end when the test says so."""

    def __init__(self, channel: OpenChannel) -> None:
        super().__init__(channel)
        self.waiting: queue.Queue[Callable[[], None]] = queue.Queue()

    def later(self, _delay_s: float, function: Callable[[], None]) -> None:
        self.waiting.put(function)


def test_after_a_batch_the_next_one_gathers_unless_it_is_full() -> None:
    sizes: queue.Queue[int] = queue.Queue()
    channel = OpenChannel()
    link = WaitingLink(channel)
    consumer = QueueConsumer("q", lambda batch: sizes.put(len(batch)), batch=5, gather_s=0.03)
    consumer.connected(cast("Link", link))
    deliver(consumer, channel, 1)
    assert sizes.get(timeout=600) == 1
    first = link.waiting.get(timeout=600)
    for tag in range(2, 6):
        deliver(consumer, channel, tag)
    assert sizes.empty()
    deliver(consumer, channel, 6)
    assert sizes.get(timeout=600) == 5
    second = link.waiting.get(timeout=600)
    first()
    second()
    deliver(consumer, channel, 7)
    assert sizes.get(timeout=600) == 1
    link.waiting.get(timeout=600)
    deliver(consumer, channel, 8)
    consumer.disconnected()
    consumer.connected(cast("Link", link))
    deliver(consumer, channel, 9)
    assert sizes.get(timeout=600) == 1, "a new connection waits for no timer of the old one"
    assert consumer.stop(600)


def deliver(consumer: QueueConsumer, channel: OpenChannel, tag: int, body: bytes = b"") -> None:
    method = SimpleNamespace(delivery_tag=tag, exchange="", routing_key="k", redelivered=False)
    properties = SimpleNamespace(headers=None, message_id=None, content_type=None)
    consumer._on_message(cast("Any", channel), cast("Any", method), cast("Any", properties), body)


def test_large_messages_are_held_a_few_at_a_time_until_small_ones_come_again() -> None:
    holding = Holding(500)
    large, small = 16 * 1024 * 1024, 1_000
    changed = [holding.take(tag, large) for tag in range(1, 6)]
    assert changed == [False, False, False, False, True]
    assert holding.prefetch == NARROW_PREFETCH
    assert NARROW_PREFETCH * large <= MAX_HELD_BYTES
    holding.clear()
    assert not any(holding.take(tag, small if tag % 400 else large) for tag in range(1, 900))
    assert holding.prefetch == NARROW_PREFETCH
    holding.clear()
    assert any(holding.take(tag, small) for tag in range(1, 501))
    assert holding.prefetch == 500


def test_what_is_settled_is_held_no_more() -> None:
    holding = Holding(500)
    for tag in range(1, 1_000):
        assert not holding.take(tag, 16 * 1024 * 1024)
        holding.settle(tag)


def test_a_consumer_that_holds_too_much_begins_a_channel_that_takes_less() -> None:
    channel = OpenChannel()
    consumer = QueueConsumer("q", lambda _batch: None)
    consumer.connected(cast("Link", OpenLink(channel)))
    for tag in range(1, 6):
        consumer._holding.take(tag, 16 * 1024 * 1024 - (tag == 5) * 16 * 1024 * 1024)
    deliver(consumer, channel, 6, b"x" * (1024 * 1024))
    assert channel.closed
    assert consumer.stop(600)


def test_what_comes_on_a_channel_that_is_no_longer_its_own_goes_back_to_the_queue() -> None:
    first, second = OpenChannel(), OpenChannel()
    link = OpenLink(first)
    consumer = QueueConsumer("q", lambda _batch: None)
    consumer.connected(cast("Link", link))
    link.channel = second
    consumer.resume()
    assert first.closed
    first.closed = False
    deliver(consumer, first, 1)
    assert first.closed
    assert not second.closed
    assert consumer.stop(600)


def test_a_delivery_on_its_way_to_the_pool_when_the_consumer_stops_is_left_to_the_broker() -> None:
    channel, handled = OpenChannel(), list[int]()
    consumer = QueueConsumer("q", lambda batch: handled.extend(d.tag for d in batch))
    consumer.connected(cast("Link", OpenLink(channel)))

    class StoppedMeanwhile(threading.Condition):
        """The consumer is stopped by another thread just before this one takes the lock."""

        stopping = threading.Thread(target=lambda: consumer.stop(600))

        def __enter__(self) -> bool:
            if threading.current_thread() is threading.main_thread():
                self.stopping.start()
                self.stopping.join(600)
            return super().__enter__()

    consumer._idle = StoppedMeanwhile()
    deliver(consumer, channel, 1)
    assert not handled
    assert not channel.acked
