"""One message that cannot be published costs itself: neither its neighbours nor the connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.exceptions import ChannelClosedByBroker

from shared.contracts import JobCancel
from shared.messaging import BrokerUnavailable, Bus, Outgoing, Refused, Unpublishable, Unroutable
from shared.messaging.limits import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES, encoded, fault_of
from shared.messaging.link import Link
from shared.messaging.publisher import ConfirmingPublisher
from tests.broker_links import BrokerChannel, BrokerLink, message
from tests.waiting import eventually


def _publish(*messages: Outgoing) -> tuple[BrokerLink, dict[int, str]]:
    link = BrokerLink()
    publisher = ConfirmingPublisher(cast("Link", link))
    try:
        publisher.publish(messages, timeout_s=60)
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
    link, faults = _publish(message(0), message(1, **changes), message(2))
    assert list(faults) == [1]
    assert reason in faults[1]
    assert link.published == [b"0", b"2"]
    assert link.connections == 1


def test_the_largest_message_is_measured() -> None:
    largest = Outgoing("jobs", "k" * 255, b"x" * MAX_MESSAGE_BYTES, "m" * 255)
    assert not fault_of(largest)
    assert "bytes" in fault_of(Outgoing("jobs", "k", b"x" * (MAX_MESSAGE_BYTES + 1), "m"))


_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "k" * 120, "k" * 256, "ä" * 128, "\ud800", "x" * MAX_HEADER_BYTES]),
)
_VALUES = st.one_of(_TEXTS, st.integers(), st.floats(), st.none(), st.lists(_TEXTS, max_size=2))


@given(_TEXTS, _TEXTS, _TEXTS, _TEXTS, st.dictionaries(_TEXTS, _VALUES, max_size=4))
def test_a_message_without_a_fault_can_be_encoded(
    exchange: str, key: str, message_id: str, content_type: str, headers: dict[str, Any]
) -> None:
    message = Outgoing(exchange, key, b"", message_id, headers, content_type)
    fault = fault_of(message)
    if fault:
        with pytest.raises(ValueError, match=re.escape(fault)):
            encoded(message)
    else:
        assert encoded(message).size <= MAX_HEADER_BYTES


def test_what_raises_when_it_is_published_fails_alone() -> None:
    link, faults = _publish(message(0), message(1, "raises"), message(2))
    assert list(faults) == [1]
    assert link.published == [b"0", b"2"]


def test_what_makes_the_broker_close_the_connection_is_found_and_given_up() -> None:
    messages = [message(n) for n in range(3)] + [message(3, "closes the connection")]
    link, faults = _publish(*messages, message(4))
    assert list(faults) == [3]
    assert "FRAME_ERROR" in faults[3]
    assert set(link.published) == {b"0", b"1", b"2", b"4"}
    assert link.connections < 10


def test_what_makes_the_broker_close_the_channel_is_refused_with_its_code() -> None:
    publisher = ConfirmingPublisher(cast("Link", BrokerLink()))
    with pytest.raises(Refused) as refused:
        publisher.publish([message(0, "closes the channel")], timeout_s=60)
    assert refused.value.of_message
    publisher.publish([message(1)], timeout_s=60)


def test_a_broker_that_takes_messages_and_confirms_none_is_noticed() -> None:
    link, now = BrokerLink(), [100.0]
    publisher = ConfirmingPublisher(cast("Link", link), lambda: now[0])
    publisher.publish([message(0)], timeout_s=60)
    now[0] += 50
    assert publisher.unconfirmed_s == 0, "nothing is out"

    with pytest.raises(BrokerUnavailable):
        publisher.publish([message(1, "is never confirmed")], timeout_s=0.01)
    eventually(lambda: link.published[1:], "the message that nobody confirms")
    now[0] += 12
    assert publisher.unconfirmed_s == 12

    publisher.publish([message(2)], timeout_s=60)
    assert publisher.unconfirmed_s == 0, "it confirms others"
    now[0] += 3
    assert publisher.unconfirmed_s == 3


def test_whoever_is_told_of_messages_without_a_queue_is_told_which_the_broker_has() -> None:
    publisher = ConfirmingPublisher(cast("Link", BrokerLink()))
    with pytest.raises(Unroutable) as told:
        publisher.publish([message(0), message(1, "has no queue"), message(2)], timeout_s=60)
    assert told.value.confirmed == {0, 2}


def test_a_message_that_was_refused_is_no_longer_unconfirmed() -> None:
    now = [100.0]
    publisher = ConfirmingPublisher(cast("Link", BrokerLink()), lambda: now[0])
    with pytest.raises(Refused):
        publisher.publish([message(0, "closes the channel")], timeout_s=60)
    now[0] += 50
    assert publisher.unconfirmed_s == 0, "senders are told that the broker is away"


def test_a_channel_that_is_closed_before_it_confirms_anything_is_opened_again() -> None:
    class ClosesTheFirst(BrokerLink):
        def open_channel(self, ready: Callable[[Any], None]) -> None:
            first, self._channel = self._channel is None, BrokerChannel(self)
            if first:
                self._channel.confirm_delivery = lambda *_, **__: None
            ready(self._channel)
            if first:
                for function in self._channel.closed:
                    function(self._channel, ChannelClosedByBroker(406, "no more channels"))

    publisher = ConfirmingPublisher(cast("Link", ClosesTheFirst()))
    publisher.publish([message(0)], timeout_s=60)


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
