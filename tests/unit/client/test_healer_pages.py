"""Pages that ask the healer, when it is away or unknown; and actions that wait for a decision."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.unit.client.alerts.events import ALERT, NOW, action, an_id, changed
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import Desk

PAGES = ("/silences", "/machines", "/machines/h7", "/ledger", "/rules", "/audit", "/channels")
AWAY = {"healer_api_url": "http://127.0.0.1:1", "healer_token": "secret"}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("settings", [AWAY, {}])
def test_a_page_without_its_healer_says_so_and_shows_no_token(
    path: str, settings: dict[str, str]
) -> None:
    desk = Desk(**settings)
    shown = desk.call("GET", path, headers={"accept": "text/html"})
    assert shown.status_code == 503
    assert "this page needs the healer" in shown.text
    assert "secret" not in shown.text
    told = desk.call("GET", path).json()["faults"]
    assert told[0]["problem"].startswith("this page needs the healer")
    desk.store.close()


def test_only_what_a_person_may_approve_waits_for_a_decision() -> None:
    desk = Desk()
    until = NOW + timedelta(hours=1)
    for n, (state, level) in enumerate(
        [("proposed", "approve"), ("proposed", "suggest"), ("running", "approve")]
    ):
        fields = {"action_id": an_id(n), "level": level, "expires": until}
        hear(desk, action(1, state, **fields))
    assert [a.action_id for a in desk.alerts.proposed(NOW, 10)] == [an_id(0)]
    assert desk.alerts.proposed(until, 10) == [], "its time is over"
    desk.store.close()


def test_a_late_change_of_an_action_changes_nothing() -> None:
    desk = Desk()
    hear(desk, changed(1, "firing"), action(2, "refused", by="Ann"), action(1, "proposed"))
    assert desk.alerts.proposed(NOW, 10) == []
    found = desk.alerts.incident(ALERT)
    assert found is not None
    assert found.actions == ()
    desk.store.close()
