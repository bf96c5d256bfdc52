"""Tests of how a watch reads what a server sends, whole or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shared.cluster import ClusterUnavailable
from shared.cluster.cluster import Watch

ADDED = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n'


class Answer:
    """A response that brings these blocks."""

    def __init__(self, *blocks: bytes) -> None:
        self._blocks = blocks

    def stream(self, amt: int | None) -> Iterator[bytes]:
        assert amt is None
        yield from self._blocks


def watch(*blocks: bytes) -> Watch:
    answer: Any = Answer(*blocks)
    return Watch("WATCH /pods", answer)


def test_events_are_whole_however_they_are_cut() -> None:
    both = ADDED * 2
    for cut in range(len(both)):
        assert len(list(watch(both[:cut], both[cut:]))) == 2


def test_what_a_broken_connection_leaves_asks_to_watch_anew() -> None:
    events = iter(watch(ADDED, b"\x17\x03\xed\xa0\n"))
    assert next(events)["type"] == "ADDED"
    with pytest.raises(ClusterUnavailable, match="WATCH /pods: not an event"):
        next(events)
