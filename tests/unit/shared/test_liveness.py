"""``/livez`` names what makes no progress, and says nothing of what merely waits."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shared.messaging import Delivery
from shared.messaging.handling import Handling
from shared.service.http import HttpServer
from shared.service.liveness import (
    HANDLER_LIMIT_S,
    PARTITION_LIMIT_S,
    Liveness,
    Turn,
)
from shared.store import StoreUnavailable


def _link(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"still_s": 0.0, "fruitless": 0, "last_error": ""} | changes)


def _consumer(queue: str, busy_s: float = 0.0, deaf_s: float = 0.0) -> SimpleNamespace:
    handling = SimpleNamespace(busy_s=busy_s)
    return SimpleNamespace(queue=queue, handling=handling, deaf_s=deaf_s, last_close="NOT_FOUND")


def _liveness(
    alive: bool = True,
    links: Sequence[Any] = (),
    consumers: Sequence[Any] = (),
    stalled_s: Sequence[float] = (),
) -> Liveness:
    bus: Any = SimpleNamespace(
        alive=alive, links={f"link {n}": each for n, each in enumerate(links)}, consumers=consumers
    )
    owners: Any = [
        SimpleNamespace(partition=number, stalled_s=stalled)
        for number, stalled in enumerate(stalled_s)
    ]
    return Liveness(bus, owners)


def test_nothing_is_wrong_where_everything_turns() -> None:
    whole = _liveness(links=[_link()], consumers=[_consumer("q", busy_s=5)], stalled_s=[3.0])
    assert whole.wrong() == {}


@pytest.mark.parametrize(
    ("parts", "name", "word"),
    [
        ({"alive": False}, "messaging", "ended"),
        ({"links": [_link(still_s=1_000)]}, "link 0", "not turned"),
        ({"links": [_link(fruitless=99, last_error="OSError(75)")]}, "link 0", "OSError(75)"),
        ({"consumers": [_consumer("q", busy_s=HANDLER_LIMIT_S + 1)]}, "queue q", "in work"),
        ({"consumers": [_consumer("q", deaf_s=HANDLER_LIMIT_S + 1)]}, "queue q", "NOT_FOUND"),
        ({"stalled_s": [0.0, PARTITION_LIMIT_S + 1]}, "partition 1", "nothing was taken"),
    ],
)
def test_what_stands_still_is_named(parts: dict[str, Any], name: str, word: str) -> None:
    wrong = _liveness(**parts).wrong()
    assert list(wrong) == [name]
    assert word in wrong[name]


def test_periodic_work_that_never_succeeds_is_named_with_its_error() -> None:
    now = [0.0]
    liveness = _liveness()
    turn = liveness.turns["reconcile"] = Turn(60.0, 600.0, lambda: now[0])
    now[0] = 659.0
    turn.failed(KeyError("no such member"))
    assert liveness.wrong() == {}
    now[0] = 661.0
    (wrong,) = liveness.wrong().values()
    assert "no such member" in wrong
    turn.done()
    assert liveness.wrong() == {}


def test_an_http_server_that_has_ended_by_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_sockets: object) -> None:
        raise RuntimeError("no more descriptors")

    liveness, http = _liveness(), HttpServer(lambda: None, "127.0.0.1", 0)
    liveness.others["http"] = http.wrong
    monkeypatch.setattr(http._server, "run", fails)
    assert liveness.wrong() == {}
    http.start()
    http._thread.join(60)
    assert liveness.wrong() == {"http": "its thread has ended"}
    http.stop()
    assert liveness.wrong() == {}


def test_a_handler_that_hangs_is_busy_and_one_that_waits_for_the_database_is_not() -> None:
    begun, go = threading.Event(), threading.Event()
    away = threading.Event()

    def hang(_batch: Sequence[Delivery]) -> None:
        begun.set()
        assert go.wait(600)
        if not away.is_set():
            away.set()
            raise StoreUnavailable("away")

    handling = Handling("q", hang, pauses_s=(0.0,))
    delivery = Delivery("q", 1, "", "k", {}, "m", None, b"")
    thread = threading.Thread(target=handling.settle, args=([delivery], lambda: True))
    thread.start()
    assert begun.wait(600)
    assert handling.busy_s > 0
    go.set()
    thread.join(600)
    assert handling.busy_s == 0
