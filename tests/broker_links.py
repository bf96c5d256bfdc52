"""Links to brokers that are told what to mind, for tests of the publisher."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic

from shared.messaging import Outgoing


class BrokerChannel:
    """A channel to a broker that confirms everything but what it is told to mind."""

    is_open = True

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._count = 0
        self.closed: list[Callable[..., None]] = []
        self.returned: list[Callable[..., None]] = []
        self._confirm: Callable[[Any], None] = lambda _frame: None

    def add_on_close_callback(self, function: Callable[..., None]) -> None:
        self.closed.append(function)

    def add_on_return_callback(self, function: Callable[..., None]) -> None:
        self.returned.append(function)

    def confirm_delivery(
        self, confirm: Callable[[Any], None], callback: Callable[[Any], None]
    ) -> None:
        self._confirm = confirm
        callback(None)

    def basic_publish(self, _exchange: str, key: str, body: bytes, *_: Any, **__: Any) -> None:
        if key == "raises":
            raise struct_like_error()
        if key == "has no queue":
            name = SimpleNamespace(message_id=f"m{body.decode()}")
            for function in self.returned:
                function(self, SimpleNamespace(routing_key=key), name, body)
        self._count += 1
        tag = self._count
        self._link.calls.append(lambda: self._answer(tag, key, body))

    def _answer(self, tag: int, key: str, body: bytes) -> None:
        if not self.is_open:
            return
        if key == "closes the connection":
            self._link.lose(for_error=True)
        elif key == "is never confirmed":
            self._link.published.append(body)
        elif key == "closes the channel":
            self.is_open = False
            for function in self.closed:
                function(self, ChannelClosedByBroker(406, "too large"))
        else:
            self._link.published.append(body)
            method = Basic.Ack(delivery_tag=tag, multiple=False)
            self._confirm(SimpleNamespace(method=method))


def struct_like_error() -> Exception:
    return ValueError("argument out of range")


class BrokerLink:
    """Runs what it is asked to in a thread of its own, as a link does."""

    up = True
    last_error = ""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.published: list[bytes] = []
        self.connections = 0
        self.closed_for_error = False
        self._parts: list[Any] = []
        self._channel: BrokerChannel | None = None
        self._wake = threading.Condition()
        self._begin()

    def _begin(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, part: Any) -> None:
        self._parts.append(part)
        self.call(self._connect)

    def call(self, function: Callable[[], None]) -> None:
        with self._wake:
            self.calls.append(function)
            self._wake.notify()

    def later(self, _delay_s: float, function: Callable[[], None]) -> None:
        self.call(function)

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        self._channel = BrokerChannel(self)
        ready(self._channel)

    def worked(self) -> None: ...

    def lose(self, *, for_error: bool) -> None:
        if self._channel is not None:
            self._channel.is_open = False
        self.closed_for_error = for_error
        self.last_error = "FRAME_ERROR"
        for part in self._parts:
            part.disconnected()
        self._connect()

    def _connect(self) -> None:
        self.connections += 1
        for part in self._parts:
            part.connected(self)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self.calls))
                function = self.calls.pop(0)
            function()


class SteppedLink(BrokerLink):
    """Does everything in the caller's thread; the broker answers when the test lets it."""

    away = False

    def _begin(self) -> None:
        self.called = threading.Event()

    def call(self, function: Callable[[], None]) -> None:
        function()
        self.called.set()

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        if not self.away:
            super().open_channel(ready)

    def return_to_work(self) -> None:
        self.away = False
        self.lose(for_error=False)

    def answer(self) -> None:
        while self.calls:
            self.calls.pop(0)()


def message(number: int, key: str = "k", **changes: Any) -> Outgoing:
    return Outgoing("jobs", key, b"%d" % number, f"m{number}", **changes)
