"""One message that cannot be published costs itself: neither its neighbours nor the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic

from shared.contracts import JobCancel
from shared.messaging import Bus, Outgoing, Refused, Unpublishable
from shared.messaging.limits import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES, fault_of
from shared.messaging.link import Link
from shared.messaging.publisher import ConfirmingPublisher


class BrokerChannel:
    """A channel to a broker that confirms everything but what it is told to mind."""

    is_open = True

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._count = 0
        self.closed: list[Callable[..., None]] = []
        self._confirm: Callable[[Any], None] = lambda _frame: None

    def add_on_close_callback(self, function: Callable[..., None]) -> None:
        self.closed.append(function)

    def add_on_return_callback(self, function: object) -> None: ...

    def confirm_delivery(
        self, confirm: Callable[[Any], None], callback: Callable[[Any], None]
    ) -> None:
        self._confirm = confirm
        callback(None)

    def basic_publish(self, _exchange: str, key: str, body: bytes, *_: Any, **__: Any) -> None:
        if key == "raises":
            raise struct_like_error()
        self._count += 1
        tag = self._count
        self._link.calls.append(lambda: self._answer(tag, key, body))

    def _answer(self, tag: int, key: str, body: bytes) -> None:
        if not self.is_open:
            return
        if key == "closes the connection":
            self._link.lose(for_error=True)
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


def _message(number: int, key: str = "k", **changes: Any) -> Outgoing:
    return Outgoing("jobs", key, b"%d" % number, f"m{number}", **changes)


def _publish(*messages: Outgoing) -> tuple[BrokerLink, dict[int, str]]:
    link = BrokerLink()
    publisher = ConfirmingPublisher(cast("Link", link))
    try:
        publisher.publish(messages, timeout_s=30)
    except Unpublishable as error:
        return link, error.faults
    return link, {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": "k" * 256}, "routing key is longer than 255 bytes"),
        ({"key": "ä" * 128}, "routing key is longer than 255 bytes"),
        ({"key": "\ud800"}, "cannot be encoded"),
        ({"headers": {"x": "y" * MAX_HEADER_BYTES}}, "headers take"),
        ({"headers": {"x" * 256: 1}}, "cannot be encoded"),
        ({"headers": {"x": 2**70}}, "cannot be encoded"),
        ({"headers": {"x": 1.5}}, "cannot be encoded"),
        ({"headers": {"x": "\ud800"}}, "cannot be encoded"),
        ({"content_type": "c" * 300}, "cannot be encoded"),
    ],
)
def test_what_breaks_a_limit_is_told_and_its_neighbours_are_published(
    changes: dict[str, Any], reason: str
) -> None:
    link, faults = _publish(_message(0), _message(1, **changes), _message(2))
    assert list(faults) == [1]
    assert reason in faults[1]
    assert link.published == [b"0", b"2"]
    assert link.connections == 1


def test_the_largest_message_is_measured() -> None:
    largest = Outgoing("jobs", "k" * 255, b"x" * MAX_MESSAGE_BYTES, "m" * 255)
    assert not fault_of(largest)
    assert "bytes" in fault_of(Outgoing("jobs", "k", b"x" * (MAX_MESSAGE_BYTES + 1), "m"))


def test_what_raises_when_it_is_published_fails_alone() -> None:
    link, faults = _publish(_message(0), _message(1, "raises"), _message(2))
    assert list(faults) == [1]
    assert link.published == [b"0", b"2"]


def test_what_makes_the_broker_close_the_connection_is_found_and_given_up() -> None:
    messages = [_message(n) for n in range(3)] + [_message(3, "closes the connection")]
    link, faults = _publish(*messages, _message(4))
    assert list(faults) == [3]
    assert "FRAME_ERROR" in faults[3]
    assert set(link.published) == {b"0", b"1", b"2", b"4"}
    assert link.connections < 10


def test_what_makes_the_broker_close_the_channel_is_refused_with_its_code() -> None:
    publisher = ConfirmingPublisher(cast("Link", BrokerLink()))
    with pytest.raises(Refused) as refused:
        publisher.publish([_message(0, "closes the channel")], timeout_s=30)
    assert refused.value.of_message
    publisher.publish([_message(1)], timeout_s=30)


def test_of_messages_that_are_published_together_the_good_ones_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus = Bus("amqp://client:unused@127.0.0.1:1/%2F", "client")
    sent: list[Outgoing] = []
    monkeypatch.setattr(
        bus._publisher, "publish", lambda outgoing, _timeout_s: sent.extend(outgoing)
    )
    with pytest.raises(Unpublishable, match="breaks its own contract") as told:
        bus.publish(
            [JobCancel(job_id="a"), JobCancel.model_construct(job_id=7), JobCancel(job_id="b")]
        )
    assert list(told.value.faults) == [1]
    assert [b'"a"' in sent[0].body, b'"b"' in sent[1].body] == [True, True]
