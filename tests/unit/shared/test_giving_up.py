"""What the publisher's caller has given up costs no memory and is not sent later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from shared.messaging import BrokerUnavailable, Outgoing, Refused
from shared.messaging import publisher as publishing
from shared.messaging.link import Link
from shared.messaging.publisher import ConfirmingPublisher
from tests.broker_links import SteppedLink, message


def _held(publisher: ConfirmingPublisher) -> list[bytes]:
    """The bodies that the publisher keeps."""
    entries = [*publisher._queue, *publisher._outstanding.values()]
    return [entry.message.body for entry in entries if entry.message.body]


def _in_vain(publisher: ConfirmingPublisher, *messages: Outgoing) -> None:
    with pytest.raises(BrokerUnavailable):
        publisher.publish(messages, timeout_s=0)


def test_what_is_given_up_while_the_broker_is_away_is_not_kept() -> None:
    link = SteppedLink()
    link.away = True
    publisher = ConfirmingPublisher(cast("Link", link))
    for number in range(50):
        _in_vain(publisher, message(number), message(number))
    assert not publisher._queue
    link.return_to_work()
    publisher._pump()
    assert link.calls == [], "nothing is published that nobody waits for"


def test_what_is_given_up_behind_a_patient_caller_keeps_no_body_and_is_not_sent() -> None:
    link = SteppedLink()
    link.away = True
    publisher = ConfirmingPublisher(cast("Link", link))
    link.called.clear()
    with ThreadPoolExecutor(1) as threads:
        patient = threads.submit(publisher.publish, [message(0)], 60)
        assert link.called.wait(60)
        for number in range(1, 50):
            _in_vain(publisher, message(number, headers={"x": "y" * 1_000}))
        assert _held(publisher) == [b"0"]
        assert all(entry.properties.size < 200 for entry in publisher._queue)
        link.return_to_work()
        link.answer()
        patient.result(60)
    assert link.published == [b"0"]
    assert not publisher._queue


def test_what_is_given_up_unconfirmed_keeps_no_body_and_is_not_sent_again() -> None:
    link = SteppedLink()
    publisher = ConfirmingPublisher(cast("Link", link))
    _in_vain(publisher, message(1, "is never confirmed"))
    _in_vain(publisher, message(2, "has no queue"))
    assert len(publisher._outstanding) == 2
    assert _held(publisher) == []
    link.answer()  # a late confirm finds its message
    assert link.published == [b"1", b"2"]
    assert len(publisher._outstanding) == 1
    link.return_to_work()
    assert link.calls == []
    assert not publisher._queue


def test_what_is_left_of_a_refused_batch_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_WINDOW", 1)
    link = SteppedLink()
    publisher = ConfirmingPublisher(cast("Link", link))
    link.later = lambda _delay_s, _function: None  # no new channel
    answered = link.call

    def call(function: Callable[[], None]) -> None:
        answered(function)
        link.answer()

    link.call = call
    with pytest.raises(Refused):
        publisher.publish([message(0, "closes the channel"), message(1)], timeout_s=60)
    assert not publisher._queue


def test_a_message_given_up_as_it_is_sent_leaves_whole_or_not_at_all() -> None:
    class Lock:
        """Lets the caller give up at the moment the link's thread has let go of the lock."""

        def __init__(self) -> None:
            self._lock, self._uses = threading.Lock(), 0

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            entries = [*publisher._queue] or self._entries
            self._entries, self._uses = entries, self._uses + 1
            self._lock.release()
            if self._uses == 2:  # queued is the first, taken to be sent is the second
                publisher._give_up(entries[0].batch, entries)

    link = SteppedLink()
    publisher = ConfirmingPublisher(cast("Link", link))
    publisher._lock = cast("threading.Lock", Lock())
    _in_vain(publisher, message(7))
    link.answer()
    assert link.published == [b"7"]
