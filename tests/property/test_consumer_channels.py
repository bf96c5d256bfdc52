"""Whatever happens, a queue is consumed on one channel, and what arrives there is handled.

A second channel gets its share of the messages, and nobody would ever handle those. Neither would
anybody handle what waits for a batch to be made of it, if that was planned on a lost connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from shared.messaging.consumer import QueueConsumer
from shared.messaging.link import Link, LinkParts


class Line:
    """A link whose thread runs one call when the test says so."""

    def __init__(self) -> None:
        self.up = self.open = False
        self.channels: list[OneChannel] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._parts = LinkParts()

    def call(self, function: Callable[[], None]) -> None:
        self._calls.append(function)

    def later(self, _delay_s: float, function: Callable[[], None]) -> None:
        self.call(function)

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        def opened() -> None:
            channel = OneChannel(self)
            self.channels.append(channel)
            ready(channel)

        if self.open:
            self.call(opened)

    def run_one(self) -> None:
        if self._calls:
            self._calls.popleft()()

    def run_all(self) -> None:
        while self._calls:
            self.run_one()

    def worked(self) -> None: ...

    def add(self, part: QueueConsumer) -> None:
        self._parts.add(part)
        self.call(
            lambda: self._parts.connect(part, cast("Link", self)) if self.up else None,
        )

    def connect(self) -> None:
        if not self.up:
            self.open = True
            self._parts.connect_all(cast("Link", self))
            self.up = True

    def lose(self) -> None:
        if self.up:
            self.up = self.open = False
            self._calls.clear()
            self.channels.clear()
            self._parts.disconnect_all()

    def refuse(self) -> None:
        for channel in self.channels:
            if channel.is_open:
                channel.close()

    def deliver(self) -> None:
        for channel in self.channels:
            if channel.is_open:
                channel.deliver()


class OneChannel:
    """A channel that says whether it is consumed from, and what of it was acknowledged."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._closed: list[Callable[[Any, Exception], None]] = []
        self._consume: Callable[..., None] = lambda *_: None
        self.is_open = True
        self.consumed = False
        self.delivered = self.acked = 0
        loop = SimpleNamespace(add_callback_threadsafe=line.call)
        self.connection = SimpleNamespace(ioloop=loop)

    def basic_qos(self, *, callback: Callable[[object], None], **_: object) -> None:
        self._line.call(lambda: callback(None) if self.is_open else None)

    def basic_consume(self, _queue: str, consume: Callable[..., None], **_: object) -> str:
        assert self.is_open
        self.consumed, self._consume = True, consume
        return "tag"

    def deliver(self) -> None:
        if self.consumed:
            self.delivered += 1
            method = SimpleNamespace(
                delivery_tag=self.delivered, exchange="", routing_key="k", redelivered=False
            )
            properties = SimpleNamespace(headers=None, message_id=None, content_type=None)
            self._consume(self, method, properties, b"")

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        assert self.is_open
        assert multiple
        self.acked = tag

    def close(self) -> None:
        assert self.is_open
        self.is_open = False
        for callback in self._closed:
            self._line.call(lambda callback=callback: callback(self, Exception("closed")))

    def add_on_close_callback(self, callback: Callable[[Any, Exception], None]) -> None:
        self._closed.append(callback)

    def add_on_cancel_callback(self, _callback: object) -> None: ...


class Pool(Executor):
    """Runs one call of those submitted when the test says so."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        self._calls.append(lambda: function(*arguments))
        return Future()

    def run_one(self) -> bool:
        if self._calls:
            self._calls.popleft()()
            return True
        return False


class Life:
    """A consumer, the thread of its link, its pool, and what the test may let happen."""

    def __init__(self, suspended: bool) -> None:
        self.line, self.pool = Line(), Pool()
        self.suspended, self.added = suspended, False
        self.consumer = QueueConsumer("q", lambda _batch: None, suspended=suspended, pool=self.pool)
        self.events: dict[str, Callable[[], object]] = {
            "add": self.add,
            "begin": self.begin,
            "suspend": self.suspend,
            "resume": self.resume,
            "connect": self.line.connect,
            "lose": self.line.lose,
            "refuse": self.line.refuse,
            "deliver": self.line.deliver,
            "handle": self.pool.run_one,
            "run": self.line.run_one,
            "run all": self.line.run_all,
        }

    def add(self) -> None:
        if not self.added:
            self.line.add(self.consumer)
            self.added = True

    def begin(self) -> None:
        self.consumer.begin()
        self.suspended = False

    def suspend(self) -> None:
        if self.added:
            self.consumer.suspend()
            self.suspended = True

    def resume(self) -> None:
        if self.added:
            self.consumer.resume()
            self.suspended = False

    def settle(self) -> None:
        """Let everything that was begun come to its end."""
        self.line.run_all()
        while self.pool.run_one():
            self.line.run_all()


EVENTS = tuple(Life(suspended=False).events)


@example(["add", "connect", "run all", "deliver", "lose", "connect", "run all", "deliver"], False)
@given(st.lists(st.sampled_from(EVENTS), max_size=30), st.booleans())
def test_a_queue_is_consumed_on_one_channel_and_all_that_comes_there_is_handled(
    events: list[str], suspended: bool
) -> None:
    life = Life(suspended)
    for event in events:
        life.events[event]()
    life.settle()

    line = life.line
    consuming = [channel for channel in line.channels if channel.is_open and channel.consumed]
    due = life.added and line.up and not life.suspended
    assert len(consuming) == (1 if due else 0)
    assert all(channel.acked == channel.delivered for channel in consuming)
    assert (life.consumer.deaf_s > 0) == (due and not consuming)
