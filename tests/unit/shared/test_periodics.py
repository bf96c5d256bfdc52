"""When periodic work is called: in its time, or after every batch of messages."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from shared.service import Periodic, Service
from shared.service.liveness import Turn
from shared.service.periodics import Periodics
from shared.settings import ServiceSettings
from tests.waiting import eventually


def test_what_takes_long_is_not_called_after_every_batch() -> None:
    periodic = [
        Periodic("quick", 3600, lambda: None),
        Periodic("long", 3600, lambda: None, eager=False),
    ]
    service = Service("healer", ServiceSettings(), periodic=periodic)
    service.wake_eager()
    assert service._periodics.woken("quick")
    assert not service._periodics.woken("long")
    service.wake("long")
    assert service._periodics.woken("long")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_neither_stops_nor_hurries_periodic_work(
    monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    called: Counter[str] = Counter()
    service = Service("healer", ServiceSettings())
    service._periodics.start(Periodic("often", 0.01, lambda: called.update(["often"])))
    service._periodics.start(Periodic("seldom", 1800, lambda: called.update(["seldom"])))
    try:
        eventually(lambda: called["often"] > 1 and called["seldom"] == 1, "first calls")
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
        before = called["often"]
        eventually(lambda: called["often"] > before + 3, "calls after the step")
        assert called["seldom"] == 1
        assert not any(turn.wrong() for turn in service.liveness.turns.values())
    finally:
        service.stopping.set()
        service._periodics.join(600)


def test_a_call_that_begins_as_the_service_stops_is_the_last_one() -> None:
    class StoppedInBetween(threading.Event):
        """Set, with everything woken, just after it was seen not to be."""

        def is_set(self) -> bool:
            seen = super().is_set()
            if not seen and threading.current_thread() is not threading.main_thread():
                self.set()
                periodics.wake()
            return seen

    turns: dict[str, Turn] = {}
    periodics = Periodics([], StoppedInBetween(), turns)
    periodics.start(Periodic("seldom", 3600, lambda: None))
    (thread,) = periodics._threads
    thread.join(60)
    assert not thread.is_alive(), "it waits for its next hour"
