"""Whatever a broker does, who publishes is told, and never that it has what it has not."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic

from shared.messaging import Outgoing, Refused, Unpublishable
from shared.messaging.link import Link
from shared.messaging.publisher import ConfirmingPublisher


class Line:
    """A link whose thread is the test, with the broker at its other end."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()
        self.channel: Channel | None = None
        self.stored: set[bytes] = set()
        self.last_error = ""
        self.closed_for_error = False
        self._parts: list[Any] = []

    def add(self, part: Any) -> None:
        self._parts.append(part)

    def call(self, function: Callable[[], None]) -> None:
        self.calls.append(function)

    def later(self, _delay_s: float, function: Callable[[], None]) -> None:
        self.call(function)

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        def opened() -> None:
            self.channel = Channel(self)
            ready(self.channel)

        self.call(opened)

    def worked(self) -> None: ...

    def connect(self) -> None:
        for part in self._parts:
            part.connected(self)

    def lose(self, *, for_error: bool = False) -> None:
        self.closed_for_error = for_error
        self.calls.clear()
        if self.channel is not None:
            self.channel.is_open = False
        self.channel = None
        for part in self._parts:
            part.disconnected()
        self.connect()

    def run_one(self) -> None:
        if self.calls:
            self.calls.popleft()()

    def run_all(self) -> None:
        while self.calls:
            self.run_one()


class Channel:
    """Keeps what was published on it until the test has the broker answer."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._tags = 0
        self._closed: list[Callable[..., None]] = []
        self._confirm: Callable[[Any], None] = lambda _frame: None
        self.open: dict[int, bytes] = {}
        self.is_open = True

    def add_on_close_callback(self, function: Callable[..., None]) -> None:
        self._closed.append(function)

    def add_on_return_callback(self, _function: object) -> None: ...

    def confirm_delivery(
        self, confirm: Callable[[Any], None], callback: Callable[[Any], None]
    ) -> None:
        self._confirm = confirm
        self._line.call(lambda: callback(None) if self.is_open else None)

    def basic_publish(self, _exchange: str, _key: str, body: bytes, *_: Any, **__: Any) -> None:
        assert self.is_open
        self._tags += 1
        self.open[self._tags] = body

    def answer(self, choose: Callable[..., int], *, multiple: bool = False) -> None:
        if self.is_open and self.open:
            tag = choose(self.open)
            for each in [t for t in self.open if t == tag or (multiple and t < tag)]:
                self._line.stored.add(self.open.pop(each))
            method = Basic.Ack(delivery_tag=tag, multiple=multiple)
            self._confirm(SimpleNamespace(method=method))

    def refuse_one(self) -> None:
        if self.is_open and self.open:
            tag = min(self.open)
            del self.open[tag]
            self._confirm(SimpleNamespace(method=Basic.Nack(delivery_tag=tag)))

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._line.channel = None
            for function in self._closed:
                function(self, ChannelClosedByBroker(406, "PRECONDITION_FAILED"))


class Life:
    """A publisher, those who wait for it, and what may happen."""

    def __init__(self) -> None:
        self.line = Line()
        self.publisher = ConfirmingPublisher(cast("Link", self.line))
        self.told: dict[int, str] = {}
        self.threads: list[threading.Thread] = []
        self.losses = 0
        self.line.connect()
        self.events: dict[str, Callable[[], object]] = {
            "publish": lambda: self.publish(3),
            "run": self.line.run_one,
            "run all": self.line.run_all,
            "confirm the first": lambda: self._at_channel(lambda c: c.answer(min)),
            "confirm the last": lambda: self._at_channel(lambda c: c.answer(max)),
            "confirm all": lambda: self._at_channel(lambda c: c.answer(max, multiple=True)),
            "nack": lambda: self._at_channel(Channel.refuse_one),
            "close the channel": lambda: self._at_channel(Channel.close),
            "lose": self.line.lose,
            "lose for an error": self._lose_for_error,
        }

    def publish(self, size: int) -> None:
        number, before = len(self.threads), len(self.line.calls)
        messages = [Outgoing("jobs", "k", b"%d.%d" % (number, n), "m") for n in range(size)]

        def wait() -> None:
            try:
                self.publisher.publish(messages, timeout_s=600)
            except (Refused, Unpublishable) as error:
                self.told[number] = type(error).__name__
            else:
                self.told[number] = "stored"

        self.threads.append(threading.Thread(target=wait, daemon=True))
        self.threads[-1].start()
        while len(self.line.calls) == before:
            time.sleep(0)

    def settle(self) -> None:
        """The broker takes everything from now on."""
        for _ in range(100):
            self.line.run_all()
            self._at_channel(lambda channel: channel.answer(max, multiple=True))
        for thread in self.threads:
            thread.join(60)

    def _at_channel(self, act: Callable[[Channel], None]) -> None:
        if self.line.channel is not None:
            act(self.line.channel)

    def _lose_for_error(self) -> None:
        self.losses += 1
        self.line.lose(for_error=True)


EVENTS = tuple(Life().events)


@example(["run all", "publish", "run all", "close the channel", "publish", "run all", "lose"])
@example(["run all", "publish", "run all", *["lose for an error", "run all"] * 4])
@example(["run all", "publish", "run all", "confirm the last", "nack", "lose", "run"])
# Not shrunk: whoever waits for ever is waited for, each time.
@settings(phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_everybody_is_told_and_what_counts_as_stored_is(events: list[str]) -> None:
    life = Life()
    for event in events:
        life.events[event]()
    life.settle()

    assert sorted(life.told) == [*range(len(life.threads))], "somebody waits for ever"
    for number, told in life.told.items():
        own = {b"%d.%d" % (number, n) for n in range(3)}
        if told == "stored":
            assert own <= life.line.stored
        elif told == "Refused":
            assert "close the channel" in events
        else:
            assert life.losses > 3, "nothing else makes a message one that is not to be published"
    assert life.publisher.unconfirmed_s == 0
