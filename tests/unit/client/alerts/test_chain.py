"""An incident as one chain: whatever happened, each link says where it stands and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.alerts.axis import round_times, value_text
from services.client.alerts.chain import Link, LinkState, chain
from services.client.alerts.plot import plot
from services.client.alerts.records import Curve
from services.client.alerts.wording import ago, measured
from shared.contracts import ActionState, Message
from tests.unit.client.alerts.events import (
    ALERT,
    NOW,
    NOW_MS,
    action,
    anomaly,
    changed,
    predicted,
    verified,
    withdrawn,
)
from tests.unit.client.alerts.test_alert_pages import hear, text_of
from tests.unit.client.test_api import Desk

STEPS = [{"action": "delete", "target": f"/var/log/{n}.gz", "freed_bytes": 2**30} for n in range(3)]
NAMES = ["Forecast", "Alarm", "Dry run", "Approval", "Action", "Value after", "Ledger"]
DAY_MS = 86_400_000


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def links(desk: Desk, *messages: Message) -> dict[str, Link]:
    hear(desk, *messages)
    incident = desk.alerts.incident(ALERT)
    assert incident is not None
    found = chain(incident, NOW + timedelta(minutes=3))
    assert [link.name for link in found] == NAMES
    return {link.name: link for link in found}


def statuses(found: dict[str, Link]) -> list[str]:
    return [found[name].state.value for name in NAMES]


def test_a_predicted_alarm_that_an_approved_action_averted_is_one_chain(desk: Desk) -> None:
    planned = {"steps": STEPS, "total_steps": 3, "expires": NOW + timedelta(hours=1)}
    found = links(desk, predicted(), changed(1, "predicted"), action(1, "proposed", **planned))
    assert statuses(found) == ["done", "ahead", "done", "waits", "ahead", "ahead", "ahead"]
    assert found["Dry run"].text == "clean-logs, 3 steps, 3 GiB."
    assert found["Approval"].text == "A person decides before 13:00 UTC."
    found = links(
        desk,
        action(2, "running", **planned),
        action(3, "verified", **planned),
        verified(saved=True),
        withdrawn(),
        changed(2, "resolved", outcome="the remediation helped"),
    )
    assert statuses(found) == ["done", "left out", "done", "done", "done", "done", "done"]
    assert found["Alarm"].text == "It never had to fire."
    assert found["Approval"].text == "Approved by ann."
    assert found["Value after"].text == (
        "81.5 % before, 61 % after; the predicted alarm never had to fire."
    )
    assert "averted" in found["Ledger"].text
    page = text_of(desk, f"/alerts/{ALERT}")
    assert page.index("chain") < page.index("<svg"), "it comes before the details"
    assert "3 steps, 3 GiB" in page


def test_an_alarm_that_nobody_foresaw_and_nobody_may_mend_says_so(desk: Desk) -> None:
    found = links(desk, anomaly(), changed(1, "firing"))
    assert statuses(found) == ["left out", "wrong", *["left out"] * 4, "ahead"]
    assert found["Alarm"].text == "81.5 %, threshold 80 %."
    over = links(desk, changed(2, "resolved", outcome="back to normal"))
    assert over["Alarm"].state == "done"
    assert over["Ledger"].text == "It counts as an alarm that was not predicted."


def test_a_refused_or_failed_action_is_where_the_chain_breaks(desk: Desk) -> None:
    hear(desk, changed(1, "firing"))
    refused = links(desk, action(1, "proposed"), action(2, "refused", by="bob"))
    assert (refused["Approval"].state, refused["Approval"].text) == ("wrong", "Refused by bob.")
    failed = links(desk, action(3, "failed", reason="a step failed"), verified(effective=False))
    assert (failed["Action"].state, failed["Action"].text) == ("wrong", "Failed: a step failed.")
    assert failed["Value after"].state is LinkState.WRONG


@pytest.mark.parametrize("state", list(ActionState))
@pytest.mark.parametrize("level", ["suggest", "approve", "automatic"])
def test_every_state_of_an_action_has_words(desk: Desk, state: ActionState, level: str) -> None:
    for link in links(desk, changed(1, "firing"), action(1, state, level=level)).values():
        assert link.text.endswith("."), link
        assert link.text[0].isupper() or link.name in ("Dry run", "Alarm"), link
    text_of(desk, f"/alerts/{ALERT}")


def test_a_forecast_that_came_before_the_alert_is_in_its_timeline(desk: Desk) -> None:
    hear(desk, predicted(), changed(1, "firing"))
    assert "Will cross 80 %" in text_of(desk, f"/alerts/{ALERT}")


def test_a_plot_shows_no_value_that_the_item_cannot_have() -> None:
    ahead = tuple(
        (NOW_MS + n * 600_000, 90 + 9.0 * n, 80 + 8.0 * n, 99 + 9.0 * n) for n in range(9)
    )
    curve = Curve(
        event_id="",
        received_at=NOW,
        threshold=90,
        recent=((NOW_MS - 600_000, 70), (NOW_MS, 80)),
        band=(),
        forecast=ahead,
    )
    crossing = (NOW_MS + 600_000, None)
    drawn = plot(curve, "df.bytes.used.percent", "a disk", crossing)
    assert drawn is not None
    assert drawn.values[-1].text == "100 %"
    assert drawn.crossing is not None
    assert drawn.now is not None
    assert drawn.now < drawn.crossing[0] < drawn.crossing[1] == drawn.right
    unknown = plot(curve, "an.item.of.others", "a series")
    assert unknown is not None
    assert unknown.values[-1].at < drawn.values[-1].at + 280
    assert float(unknown.values[-1].text) > 100


@given(st.integers(-(2**45), 2**45), st.integers(1, 400 * DAY_MS))
def test_a_plots_times_are_few_full_and_within_it(first: int, extent: int) -> None:
    found = round_times(first, first + extent)
    assert len(found) <= 7
    assert all(first <= at <= first + extent for at, _ in found)
    assert [at for at, _ in found] == sorted({at for at, _ in found})


def test_times_and_values_are_said_as_people_say_them() -> None:
    assert [text for _, text in round_times(NOW_MS, NOW_MS + 60 * 60_000)][:2] == ["12:00", "12:10"]
    assert [t for _, t in round_times(NOW_MS, NOW_MS + DAY_MS)] == [
        "12:00",
        "18:00",
        "02 Jan",
        "06:00",
        "12:00",
    ]
    assert [value_text(v, "percent") for v in (20, 62.5)] == ["20 %", "62.5 %"]
    assert value_text(3 * 2**30, "bytes") == "3 GiB"
    assert measured(812.4, "disk.io.await") == "812 milliseconds"
    assert measured(1320.25, "redis_connected_clients") == "1320.25"
    assert measured(0.0, "host.alive") == "0"
    assert measured(None, "cpu.idle") == ""
    past = {5: "just now", 90: "1 min ago", 7_300: "2 h ago", 200_000: "2 days ago"}
    for seconds, text in past.items():
        assert ago(NOW - timedelta(seconds=seconds), NOW) == text
    assert ago(NOW + timedelta(minutes=26), NOW) == "in 26 min"
