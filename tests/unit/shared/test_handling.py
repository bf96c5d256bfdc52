"""An outage costs nobody an attempt; a message that ends the process is found alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from shared.messaging import BrokerUnavailable, Delivery
from shared.messaging.crash_marks import MAX_CRASHES, CrashMarks
from shared.messaging.handling import Handling
from shared.store import StoreUnavailable

_NO_PAUSES = (0.0,)


def _delivery(tag: int, returns: int = 0) -> Delivery:
    headers = {"x-delivery-count": returns} if returns else {}
    return Delivery("q", tag, "jobs", "k", headers, f"m{tag}", None, b"%d" % tag)


def _held() -> bool:
    return True


def test_an_outage_is_waited_out_with_the_same_batch_and_counts_nobody() -> None:
    calls: list[list[int]] = []
    crashes: list[int] = []

    def handle(batch: Sequence[Delivery]) -> None:
        calls.append([d.tag for d in batch])
        crashes.extend(d.crashes for d in batch)
        if len(calls) < 40:
            raise StoreUnavailable("away") if len(calls) % 2 else BrokerUnavailable("away")

    handling = Handling("q", handle, pauses_s=_NO_PAUSES)
    outcome = handling.settle([_delivery(1), _delivery(2), _delivery(3)], _held)
    assert outcome.done == [1, 2, 3]
    assert outcome.set_aside == []
    assert calls == [[1, 2, 3]] * 40
    assert set(crashes) == {0}
    assert handling.outage == ""


def test_while_something_is_away_it_is_named_and_a_lost_channel_ends_the_waiting() -> None:
    seen: list[str] = []

    def handle(_batch: Sequence[Delivery]) -> None:
        raise StoreUnavailable("no route to the database")

    handling = Handling("q", handle, pauses_s=_NO_PAUSES)

    def held() -> bool:
        seen.append(handling.outage)
        return len(seen) < 3

    outcome = handling.settle([_delivery(1)], held)
    assert (outcome.done, outcome.set_aside) == ([], [])
    assert "no route to the database" in seen
    assert handling.outage == "", "nobody waits for it any more"


def test_of_a_batch_whose_channel_was_lost_nothing_is_waited_for() -> None:
    def handle(_batch: Sequence[Delivery]) -> None:
        lost.append(True)
        raise BrokerUnavailable("away")

    class Pauses(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            return self.is_set()

    lost, pauses = list[bool](), list[float | None]()
    handling = Handling("q", handle)
    handling.stopped = Pauses()
    outcome = handling.settle([_delivery(tag) for tag in range(1, 201)], lambda: not lost)
    assert (outcome.done, outcome.set_aside) == ([], [])
    assert pauses == [1.0], "its messages come again on the next channel, which this one keeps"


@pytest.mark.parametrize("away", [False, True])
def test_what_another_thread_meets_meanwhile_changes_nothing_for_this_one(away: bool) -> None:
    calls = 0

    def handle(_batch: Sequence[Delivery]) -> None:
        nonlocal calls
        calls += 1
        if away and calls <= 4:
            raise StoreUnavailable("away")

    class OtherThread(Handling):
        """Another thread's attempt ends, the other way, at the moment this one's has ended."""

        def __setattr__(self, name: str, value: object) -> None:
            if name == "outage" and calls in (1, 2, 3, 4):
                value = "" if value else "away"
            super().__setattr__(name, value)

    handling = OtherThread("q", handle, pauses_s=_NO_PAUSES)
    outcome = handling.settle([_delivery(1)], _held)
    assert (outcome.done, outcome.set_aside) == ([1], [])
    assert calls == (5 if away else 1)


def test_what_fails_unforeseen_is_set_aside_and_its_neighbours_are_handled() -> None:
    handled: list[int] = []

    def handle(batch: Sequence[Delivery]) -> None:
        if any(d.tag == 2 for d in batch):
            raise RecursionError
        handled.extend(d.tag for d in batch)

    labels = {"queue": "q"}
    before = REGISTRY.get_sample_value("barograph_set_aside_total", labels) or 0
    outcome = Handling("q", handle, pauses_s=_NO_PAUSES).settle(
        [_delivery(1), _delivery(2), _delivery(3)], _held
    )
    assert (outcome.done, outcome.set_aside) == ([1, 3], [2])
    assert handled == [1, 3]
    assert REGISTRY.get_sample_value("barograph_set_aside_total", labels) == before + 1


@pytest.mark.parametrize("together_fails", [False, True])
def test_what_came_back_is_handled_alone_and_where_it_stands(together_fails: bool) -> None:
    calls: list[list[int]] = []

    def handle(batch: Sequence[Delivery]) -> None:
        if together_fails and len(batch) > 1:
            raise RuntimeError("one of them")
        calls.append([d.tag for d in batch])

    returns = {1: 0, 2: 0, 3: 2, 4: 3, 5: 1, 6: 0, 7: 2, 8: 0}
    batch = [_delivery(tag, n) for tag, n in returns.items()]
    outcome = Handling("q", handle, pauses_s=_NO_PAUSES).settle(batch, _held)
    assert outcome.done == list(returns)
    assert [tag for call in calls for tag in call] == list(returns)
    assert [call for call in calls if set(call) & {3, 4, 7}] == [[3], [4], [7]]


def _in_a_process(path: Path, log: Path) -> int:
    """Handle three messages in a process of its own, which the second one ends; its status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def handle(batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            with log.open("a") as file:
                file.write(f"{delivery.tag} {delivery.crashes}\n")
            if delivery.tag == 2 and delivery.crashes < MAX_CRASHES:
                os._exit(9)

    handling = Handling("q", handle, CrashMarks(path), _NO_PAUSES)
    outcome = handling.settle([_delivery(n, returns=2) for n in (1, 2, 3)], _held)
    os._exit(0 if outcome.done == [1, 2, 3] else 1)


def test_deaths_are_counted_for_the_message_alone_and_outlive_the_process(tmp_path: Path) -> None:
    marks, log = tmp_path / "marks.json", tmp_path / "log"
    statuses = [_in_a_process(marks, log) for _ in range(MAX_CRASHES + 1)]
    assert statuses == [9] * MAX_CRASHES + [0]
    told = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert {crashes for tag, crashes in told if tag != 2} == {0}
    assert [crashes for tag, crashes in told if tag == 2] == list(range(MAX_CRASHES + 1))
    assert CrashMarks(marks)._marks == {}


def test_the_file_says_what_is_in_hand_and_forgets_what_ended(tmp_path: Path) -> None:
    path = tmp_path / "state" / "marks.json"
    marks = CrashMarks(path)
    with marks.working_on("a"):
        assert CrashMarks(path).crashes("a") == 1
    assert CrashMarks(path).crashes("a") == 0


def test_a_damaged_or_unwritable_file_stops_nobody(tmp_path: Path) -> None:
    damaged = tmp_path / "marks.json"
    damaged.write_text("[1, 2")
    assert CrashMarks(damaged).crashes("a") == 0
    file = tmp_path / "file"
    file.write_text("")
    with CrashMarks(file / "below" / "marks.json").working_on("a"):
        pass
