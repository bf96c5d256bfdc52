"""Actions, switch, rules, labels and audit over HTTP, and by the links of a mail."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from services.healer.actions import audit
from services.healer.api.actions import export_audit
from services.healer.model.action import ACTIONS
from shared.contracts import (
    AnomalyJudged,
    HealingStop,
    HealingSwitched,
    RemediationExecute,
)
from shared.store import Store
from tests.unit.healer.test_acting import APPROVE, Desk, planned
from tests.unit.healer.test_api import Door
from tests.unit.healer.test_incidents import anomaly, only, prediction

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    def desk(**options: Any) -> Desk:
        options.pop("channels")
        return Desk(APPROVE, **options)

    monkeypatch.setattr("tests.unit.healer.test_api.Desk", desk)
    return Door()


def propose(door: Door) -> str:
    answers = door.desk.take(prediction())
    door.desk.take(planned(only(answers, RemediationExecute)))
    (action,) = door.http.get("/api/v1/actions").json()
    assert action["steps"][0]["command"] == "rm -- /var/log/a.1"
    return str(action["action_id"])


def test_an_action_is_approved_once_and_then_there_is_nothing_to_decide(door: Door) -> None:
    action_id = propose(door)
    said = {"by": "ann", "reason": "looks right"}
    answer = door.http.post(f"/api/v1/actions/{action_id}/approve", json=said)
    assert answer.json()["state"] == "running"
    again = door.http.post(f"/api/v1/actions/{action_id}/refuse", json=said)
    assert again.json()["state"] == "running"
    assert len([m for m in door.sent if isinstance(m, RemediationExecute)]) == 1


def test_unknown_actions_and_bad_bodies_are_refused_with_every_fault(door: Door) -> None:
    unknown = "6f0c5a52-6f3d-5e0b-9b57-0b0c5b7f1f57"
    answer = door.http.post(f"/api/v1/actions/{unknown}/approve", json={"by": "ann"})
    assert answer.status_code == 404
    assert door.http.post("/api/v1/actions/x/approve", json={"by": "ann"}).status_code == 422
    answer = door.http.post("/api/v1/actions/x/approve", json={})
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["field"] == "by"
    assert door.http.post("/api/v1/actions/x/maybe", json={"by": "a"}).status_code == 422


def test_the_kill_switch_goes_to_the_agents_at_once_and_holds_here(door: Door) -> None:
    action_id = propose(door)
    switched = door.http.post("/api/v1/healing/stop", json={"by": "bob", "hosts": "host*"})
    assert [s["hosts"] for s in switched.json()] == ["host*"]
    assert [type(m) for m in door.sent] == [HealingStop, HealingSwitched]
    answer = door.http.post(f"/api/v1/actions/{action_id}/approve", json={"by": "ann"}).json()
    assert (answer["state"], "stopped by bob" in answer["reason"]) == ("proposed", True)
    left = door.http.post("/api/v1/healing/resume", json={"by": "bob", "hosts": "host*"})
    assert left.json() == door.http.get("/api/v1/healing").json() == []


def test_a_mails_link_asks_first_and_its_button_approves_as_the_one_it_was_sent_to(
    door: Door,
) -> None:
    action_id = propose(door)
    link = door.link("approve", action_id)
    asked = door.http.get(link)
    assert "clean-logs on host1, 1 step, as Ann" in asked.text
    assert "rm -- /var/log/a.1" in asked.text
    assert not [m for m in door.sent if isinstance(m, RemediationExecute)]
    assert door.http.post(link).status_code == 200
    assert only(door.sent, RemediationExecute).only == ("1:2",)
    with door.desk.store.transaction() as records:
        action = records.get(ACTIONS, action_id)
    assert action is not None
    assert action.by == "Ann"
    assert door.http.get(link).status_code == 410, "there is nothing left to decide"


def test_a_link_says_what_is_no_anomaly(door: Door) -> None:
    alert = door.desk.take(anomaly())[0]
    assert door.http.post(door.link("not-an-anomaly", alert.alert_id)).status_code == 200
    assert not only(door.sent, AnomalyJudged).anomaly


def test_the_exported_audit_verifies_and_a_changed_one_does_not(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door.http.post(f"/api/v1/actions/{propose(door)}/approve", json={"by": "ann"})
    answer = door.http.get("/api/v1/audit")
    file = tmp_path / "audit.jsonl"
    file.write_text(answer.text)
    assert audit.check([str(file), answer.headers["audit-head"]]) == 0
    assert "entries hold" in capsys.readouterr().out
    file.write_text(answer.text.replace('"by": "ann"', '"by": "eve"'))
    assert audit.check([str(file)]) == 1
    file.write_text("".join(answer.text.splitlines(keepends=True)[:-1]))
    assert audit.check([str(file), answer.headers["audit-head"]]) == 1
    assert audit.check([]) == audit.check([str(tmp_path / "none")]) == 2


def test_an_export_goes_page_by_page_and_on_from_any_entry(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.http.post(f"/api/v1/actions/{propose(door)}/approve", json={"by": "ann"})
    whole = door.http.get("/api/v1/audit").text.splitlines()
    monkeypatch.setattr(audit, "AT_ONCE", 2)
    assert len(whole) > 3
    for after in range(len(whole) + 2):
        answer = door.http.get("/api/v1/audit", params={"after": after})
        assert answer.text.splitlines() == whole[after:]
        assert answer.headers["audit-number"] == str(len(whole))
        for limit in (1, 2, 3):
            part = door.http.get("/api/v1/audit", params={"after": after, "limit": limit})
            assert part.text.splitlines() == whole[after : after + limit]


def test_a_slow_reader_of_an_export_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AT_ONCE", 2)
    store = Store("sqlite://")
    with store.transaction() as records:
        for number in range(5):
            audit.note(records, NOW, "told", str(number))
    answer = export_audit(cast("Any", SimpleNamespace(unit=store.unit)), 0)

    def handle() -> None:
        with store.unit():
            pass

    async def read_slowly() -> list[str | bytes | memoryview]:
        pages = []
        async for page in answer.body_iterator:
            pages.append(page)
            handling = threading.Thread(target=handle, daemon=True)
            handling.start()
            handling.join(60)
            assert not handling.is_alive(), "a message waits for the reader"
        return pages

    assert len(anyio.run(read_slowly)) == 3
    store.close()


def test_rules_that_are_not_there_and_the_ledger(door: Door) -> None:
    said = {"by": "ann"}
    unknown = "6f0c5a52-6f3d-5e0b-9b57-0b0c5b7f1f57"
    assert door.http.post(f"/api/v1/rules/{unknown}/accept", json=said).status_code == 404
    assert door.http.post("/api/v1/rules/x/accept", json=said).status_code == 422
    assert door.http.get("/api/v1/rules").json() == []
    empty = {"saved": 0, "repaired": 0, "failed": 0, "items": []}
    assert door.http.get("/api/v1/ledger").json() == empty
