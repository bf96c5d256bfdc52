"""A storm's summary is written down in parts: whichever is killed, nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from services.healer.handlers import Handlers
from services.healer.model.notice import Summary
from services.healer.model.notification import NOTICES, STANDINGS, STORM
from shared.service import Context
from tests.notification_passes import KilledError, notify
from tests.unit.healer.test_alerting import RULE, over, trouble
from tests.unit.healer.test_incidents import Desk

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
    """How often people were notified of each series' opening."""
    return Counter(row.series.host for told in desk.notices() for row in told.lines())


@pytest.mark.parametrize("part", range(10))
def test_a_summary_whose_writing_down_is_killed_tells_of_each_alert_once(part) -> None:
    desk = stormy()
    assert interrupted(desk, part) is (part < 9)
    assert rows(desk) == Counter(alarm.series.host for alarm in EVERY)
    with desk.store.transaction() as records:
        assert records.get(STORM, "storm").settling is None
        found = Counter((s.status.shown, bool(s.cause)) for s in records.find(STANDINGS))
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
        assert records.count(STANDINGS) == {"told": 9, "held": 8}
        assert len(records.find(NOTICES)) == 1
