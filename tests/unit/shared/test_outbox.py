"""The relay of the outbox: rows that cannot be sent keep no other row from being sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from shared.messaging import BrokerUnavailable, Bus, Outgoing, Refused, Unroutable
from shared.service import upkeep
from shared.service.outbox import send_or_leave
from shared.service.upkeep import Upkeep
from shared.store import Queued, Store

_HEAD = 700
"""Rows at the head of the outbox: more than the relay reads at once."""


class BrokerBus:
    """A broker that has no queue for some messages, refuses some, and never confirms some."""

    ready = True
    last_error = ""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.asked: list[str] = []
        self.cured = False

    def publish_prepared(self, outgoing: Sequence[Outgoing]) -> None:
        keys = [each.routing_key for each in outgoing]
        self.asked += [each.message_id for each in outgoing]
        bad = set() if self.cured else {"unroutable", "forbidden", "too large", "unconfirmed"}
        good = {place for place, key in enumerate(keys) if key not in bad}
        refused = bad & {"forbidden", "too large"} & {*keys}
        if refused:
            raise Refused("the broker refused one", 406 if "too large" in refused else 403)
        self.sent += [outgoing[place].message_id for place in sorted(good)]
        if bad & {"unconfirmed"} & {*keys}:
            raise BrokerUnavailable("no confirm within 60 s", good)
        if len(good) < len(keys):
            raise Unroutable("no queue", good)


@pytest.fixture
def bus() -> BrokerBus:
    return BrokerBus()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path}/store.db")


def _row(name: str, key: str = "k") -> Queued:
    return Queued("from.task", key, name, {}, b"{}", mandatory=True)


def _enqueue(store: Store, *rows: Queued) -> list[Queued]:
    with store.unit() as unit:
        return unit.enqueue(rows)


@pytest.fixture
def passes(bus: BrokerBus, store: Store, monkeypatch: pytest.MonkeyPatch) -> _Passes:
    monkeypatch.setattr(upkeep, "_FRESH_S", 0.0)
    return _Passes(Upkeep(cast("Bus", bus), store))


class _Passes:
    def __init__(self, work: Upkeep) -> None:
        self._relay = work.work[0].run

    def __call__(self, count: int) -> None:
        for _ in range(count):
            try:
                self._relay()
            except BrokerUnavailable:
                pass  # logged by whoever calls periodic work, and called again


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["unroutable", "forbidden", "too large", "unconfirmed"])
def test_rows_behind_more_bad_ones_than_are_read_at_once_are_sent(
    bus: BrokerBus, store: Store, passes: _Passes, fault: str
) -> None:
    bad = [_row(f"bad-{n}", fault) for n in range(_HEAD)]
    _enqueue(store, *bad, _row("good-1"), _row("good-2"))
    passes(2)
    assert {"good-1", "good-2"} <= {*bus.sent}
    _enqueue(store, _row("good-3"))
    passes(1)
    assert "good-3" in bus.sent


def test_good_rows_among_bad_ones_are_sent_once(
    bus: BrokerBus, store: Store, passes: _Passes
) -> None:
    rows = [_row("a"), _row("b", "unroutable"), _row("c"), _row("d", "unconfirmed"), _row("e")]
    _enqueue(store, *rows)
    passes(3)
    assert sorted(bus.sent) == ["a", "c", "e"]
    assert {queued.message_id for queued in store.unsent(again=True)} == {"b", "d"}


def test_each_bad_row_has_its_turn_and_goes_when_it_can(
    bus: BrokerBus, store: Store, passes: _Passes
) -> None:
    names = [f"bad-{n}" for n in range(_HEAD)]
    _enqueue(store, *[_row(name, "unroutable") for name in names])
    passes(2)
    bus.asked.clear()
    passes(_HEAD // 100)
    assert sorted(bus.asked) == sorted(names), "each of them once, a part in every pass"
    bus.cured = True
    passes(1)
    assert sorted(bus.sent) == sorted(names)
    assert store.unsent_count() == 0


def test_what_its_writer_sent_in_vain_waits_behind_what_was_never_tried(
    bus: BrokerBus, store: Store, passes: _Passes
) -> None:
    sender = cast("Bus", bus)
    for fault in ("unroutable", "forbidden", "unconfirmed"):
        send_or_leave(sender, store, _enqueue(store, _row(fault, fault)))
    _enqueue(store, _row("good"))
    assert [queued.message_id for queued in store.unsent()] == ["good"]
    bus.cured = True
    passes(1)
    assert bus.sent == ["good", "unroutable", "forbidden", "unconfirmed"]


def test_what_the_broker_never_takes_is_set_aside_among_the_others(
    bus: BrokerBus, store: Store, passes: _Passes
) -> None:
    _enqueue(store, _row("bad", "too large"), _row("good"))
    passes(6)
    assert bus.sent == ["good"]
    assert [queued.message_id for queued in store.those_set_aside()] == ["bad"]
