"""A storm's summary is written down in parts: whichever is killed, nothing is lost or doubled."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from services.healer.handlers import Handlers
from services.healer.model.notice import Summary
from services.healer.model.notification import (
    NOTICES,
    NOTIFICATION_STATES,
    STORM,
    NotificationState,
    StormState,
)
from services.healer.notify import passes, storms
from services.healer.notify.render.mail import build
from services.healer.notify.settings import Storm
from shared.service import Context
from shared.store import StoreUnavailable
from tests.notification_passes import KilledError, notify
from tests.unit.healer.test_alerting import RULE, over, trouble
from tests.unit.healer.test_incidents import NOW, Desk, prediction

ROOTS = [trouble(f"switch{n}", "switch.up", rack=f"r{n}") for n in range(4)]
EFFECTS = [trouble(f"h{n}-{r}", rack=f"r{r}") for r in range(4) for n in range(2)]
STRANGERS = [trouble(f"s{n}", severity="warning") for n in range(5)]
EVERY = [*EFFECTS[:4], *ROOTS, *EFFECTS[4:], *STRANGERS]


def stormy() -> Desk:
    """A desk on which a storm is about to be told, three alerts in a transaction."""
    desk = Desk(
        group_wait_s=5,
        storm={"alerts": 8, "interval_s": 60},
        inhibit=[RULE | {"equal": ["rack"]}],
    )
    desk.handlers = Handlers(desk.settings, alerts_at_once=3)
    desk.take(*EVERY)
    desk.now += timedelta(seconds=5)
    return desk


def interrupted(desk: Desk, part: int) -> bool:
    """Whether the pass was killed in this part, and made again by a process that begins anew."""
    killed = False
    try:
        notify(desk.handlers, desk.store, desk.now, killed_in=part)
    except KilledError:
        killed = True
    desk.handlers = Handlers(desk.settings, alerts_at_once=3)
    for _ in range(2):
        notify(desk.handlers, desk.store, desk.now)
    return killed


def rows(desk: Desk) -> Counter[str]:
    """Return how often people were notified of each series' opening."""
    return Counter(row.series.host for told in desk.notices() for row in told.lines())


@pytest.mark.parametrize("part", range(10))
def test_a_summary_whose_writing_down_is_killed_tells_of_each_alert_once(part) -> None:
    desk = stormy()
    assert interrupted(desk, part) is (part < 9)
    assert rows(desk) == Counter(alarm.series.host for alarm in EVERY)
    with desk.store.transaction() as records:
        assert records.get(STORM, "storm").settling is None
        found = Counter((s.status.shown, bool(s.cause)) for s in records.find(NOTIFICATION_STATES))
    assert found == {("notified", False): 9, ("held", True): 8}
    desk.later(120)
    assert rows(desk) == Counter(alarm.series.host for alarm in EVERY)


def test_what_changes_between_the_summary_and_its_writing_down_is_told_in_the_next_one() -> None:
    desk = stormy()
    with suppress(KilledError):
        notify(desk.handlers, desk.store, desk.now, killed_in=2)
    worse = trouble("s0", number=2, severity="critical")
    with desk.store.transaction() as records:
        for message in (over(STRANGERS[1]), over(EFFECTS[0])):
            list(desk.handlers.anomaly_cleared(message, Context(desk.now, "", 1, records)))
        list(desk.handlers.anomaly_detected(worse, Context(desk.now, "", 1, records)))
    desk.later(1)
    desk.later(90)
    first, second = desk.notices()
    assert isinstance(first, Summary)
    assert {(row.series.host, row.kind) for row in second.lines()} >= {
        ("s0", "firing"),
        ("s1", "resolved"),
    }
    assert EFFECTS[0].series.host not in {row.series.host for row in second.lines()}


def test_a_summary_that_no_channel_wants_is_written_down_as_well() -> None:
    desk = stormy()
    desk.handlers.dispatch._channels = ()
    notify(desk.handlers, desk.store, desk.now)
    with desk.store.transaction() as records:
        assert records.count(NOTIFICATION_STATES) == {"told": 9, "held": 8}
        assert len(records.find(NOTICES)) == 1


def test_a_storm_of_weeks_goes_on_to_be_told() -> None:
    how = Storm(alerts=8)
    state = StormState()
    for _ in range(1200):
        state = storms.goes_on(state, 9, NOW, how)
    assert state.next_at == NOW + timedelta(seconds=how.max_interval_s)


def test_a_part_of_a_pass_that_fails_keeps_no_other_back() -> None:
    done: list[int] = []

    def transaction(part: int) -> None:
        if part % 2:
            raise ValueError(part)
        done.append(part)

    with pytest.raises(ValueError, match="1"):
        passes.make(range(6), transaction)
    assert done == [0, 2, 4]


def test_a_pass_rests_as_often_as_it_is_told_for_as_long_as_its_parts_compute(monkeypatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(passes, "give_way", rests.append)
    spent: list[float] = []

    def transaction(wanted_s: float) -> None:
        began = time.thread_time()
        while time.thread_time() - began < wanted_s:
            pass
        spent.append(time.thread_time() - began)

    passes.make([0.002, 0.02], transaction, 3.0)
    assert len(rests) == 2
    assert all(rest >= 3 * took for rest, took in zip(rests, spent, strict=True))


def test_the_states_that_are_kept_are_what_the_database_would_say(monkeypatch) -> None:
    kept: dict[str, tuple[str, NotificationState]] = {}
    monkeypatch.setattr(NOTIFICATION_STATES.parsed, "_kept", kept)
    desk = stormy()
    notify(desk.handlers, desk.store, desk.now)
    desk.take(over(STRANGERS[1]), over(EFFECTS[0]), trouble("s0", number=2, severity="critical"))
    desk.later(90)
    assert len(kept) > 10
    for data, state in kept.values():
        read = NotificationState.model_validate_json(data)
        assert state == read
        assert [type(v) for v in dict(state).values()] == [type(v) for v in dict(read).values()]


def test_a_store_that_is_away_ends_the_pass_at_once() -> None:
    tried: list[int] = []

    def transaction(part: int) -> None:
        tried.append(part)
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        passes.make(range(6), transaction)
    assert tried == [0]


@pytest.mark.parametrize("at_ms", [2**62, 10**400], ids=["large", "larger"])
def test_a_prediction_for_a_time_beyond_the_calendar_is_told(at_ms: int) -> None:
    desk = Desk()
    times = {"crossing_ms": at_ms, "earliest_ms": -at_ms, "latest_ms": at_ms}
    desk.take(prediction().model_copy(update=times))
    desk.later(60)
    (notice,) = desk.notices()
    assert "9999-01-01" in notice.opening
    build(notice, "a@example.org", ("b@example.org",), "https://barograph.example.org")
