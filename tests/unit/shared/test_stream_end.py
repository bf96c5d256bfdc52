"""A stream is found to begin again by what the broker says, never by how long it says nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shared.messaging.link import Link
from shared.messaging.stream_end import StreamEnd


class Broker:
    """A link whose broker says of a stream what it is given, and nothing else."""

    def __init__(self, *, attached: bool, count: int | None, offsets: dict[Any, int]) -> None:
        self.attached, self.count, self.offsets = attached, count, offsets
        self.open = 0

    def call(self, function: Callable[[], None]) -> None:
        function()

    def open_channel(self, ready: Callable[[Any], None]) -> None:
        self.open += 1
        ready(Channel(self))


class Channel:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.is_open = True

    def basic_qos(self, *, prefetch_count: int, callback: Callable[[object], None]) -> None:
        del prefetch_count
        callback(None)

    def basic_consume(
        self,
        _stream: str,
        consumer: Callable[..., None],
        *,
        arguments: dict[str, Any],
        callback: Callable[[object], None],
    ) -> None:
        if self._broker.attached:
            callback(None)
        offset = self._broker.offsets.get(arguments["x-stream-offset"])
        if offset is not None:
            consumer(self, None, SimpleNamespace(headers={"x-stream-offset": offset}), b"")

    def queue_declare(
        self, _stream: str, *, passive: bool, callback: Callable[[Any], None]
    ) -> None:
        assert passive
        if self._broker.count is not None:
            method = SimpleNamespace(message_count=self._broker.count)
            callback(SimpleNamespace(method=method))

    def close(self) -> None:
        assert self.is_open
        self.is_open = False
        self._broker.open -= 1


def reaches(
    *, attached: bool = True, count: int | None = None, at: int | None = None, **told_of: int
) -> bool | None:
    offsets: dict[Any, int] = {**told_of} | ({} if at is None else {41: at})
    broker = Broker(attached=attached, count=count, offsets=offsets)
    told = StreamEnd(cast("Link", broker), "metrics.0", 41).reaches(0.0)
    assert count is None or broker.open == 0, "a channel was left open"
    return told


@pytest.mark.parametrize(("last", "count"), [(41, None), (90, None), (40, 2), (30, 12), (12, 400)])
def test_a_stream_that_has_come_so_far_is_the_same_one(last: int, count: int | None) -> None:
    assert reaches(last=last, count=count, first=max(0, last - 400)) is not False
    assert reaches(last=last, at=41) is True
    if count is None:
        assert reaches(last=last) is True


def test_where_it_ends_follows_from_its_first_message_and_their_number() -> None:
    assert reaches(first=0, last=30, count=42) is True
    assert reaches(first=0, last=30, count=41) is False
    assert reaches(first=20, last=30, count=22) is True
    assert reaches(first=0, last=0, count=1) is False


def test_one_that_is_empty_begins_again_if_the_broker_has_found_it() -> None:
    assert reaches(count=0) is False
    assert reaches(count=0, attached=False) is None


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"last": 30},
        {"first": 0},
        {"last": 30, "first": 0},
        {"count": 7},
        {"last": 30, "count": 5},
        {"last": 30, "first": 0, "count": 0},
        {"last": 30, "first": 0, "count": 20},
        {"last": 30, "at": 30},
    ],
)
def test_a_broker_that_is_slow_or_not_sure_is_asked_again(said: dict[str, int]) -> None:
    assert reaches(**said) is None
