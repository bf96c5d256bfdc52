"""Pages that ask the healer, when it is away or unknown; and actions that wait for a decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.client.api import book_pages
from services.client.healer_api import HealerApi, HealerRefused, HealerUnavailable
from shared.contracts import (
    AlertingReported,
    CorrelationChanged,
    HealingSwitched,
    HealthReported,
    HealthTerm,
    SilenceChanged,
)
from shared.roles import Role
from tests.unit.client.alerts.events import ALERT, NOW, action, an_id, changed, predicted
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import JOB, Desk
from tests.unit.client.test_roles import _bearer

PAGES = ("/audit", "/channels")
AWAY = {"healer_api_url": "http://127.0.0.1:1", "healer_token": "secret"}


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("settings", [AWAY, {}])
def test_a_page_without_its_healer_says_so_and_shows_no_token(
    path: str, settings: dict[str, str]
) -> None:
    desk = Desk(**settings)
    shown = desk.call("GET", path, headers={"accept": "text/html"})
    assert shown.status_code == 503
    assert "This page needs the healer" in shown.text
    assert "secret" not in shown.text
    told = desk.call("GET", path).json()["faults"]
    assert told[0]["problem"].startswith("this page needs the healer")
    desk.store.close()


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/plans"])
def test_a_job_whose_end_nobody_could_hear_of_is_refused_and_every_such_target_named(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answering(_: HealerApi, method: str, *way: str, params: dict[str, Any]) -> httpx.Response:
        assert (method, way) == ("GET", ("job-notices", "refused"))
        refused = [to for to in params["to"] if to != "slack"]
        return httpx.Response(200, json={"refused": refused, "channels": ["slack"]})

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    body = {k: v for k, v in JOB.items() if k != "package" or path.endswith("jobs")}
    asked = body | {"notify": {"to": ["slack", "mail:x@example.org", "pager"]}}
    answer = desk.call("POST", path, json=asked)
    assert (answer.status_code, desk.sent) == (422, [])
    faults = answer.json()["faults"]
    assert [fault["field"] for fault in faults] == ["notify.to.1", "notify.to.2"]
    assert "may not name pager; channels that they may name: slack" in faults[1]["problem"]
    assert desk.call("POST", path, json=body | {"notify": {"to": ["slack"]}}).status_code == 202
    desk.store.close()


@pytest.mark.parametrize("settings", [AWAY, {}])
def test_a_healer_that_does_not_answer_stops_no_job(settings: dict[str, str]) -> None:
    desk = Desk(**settings)
    asked = JOB | {"notify": {"to": ["pager"]}}
    assert desk.call("POST", "/api/v1/jobs", json=asked).status_code == 202
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
    assert [(a.sequence, a.state, a.is_over) for a in found.actions] == [(2, "refused", True)]
    desk.store.close()


@pytest.mark.parametrize("health", ["reported", "not reported"])
@pytest.mark.parametrize("hours", ["ended", "none has ended", "nobody answers"])
def test_the_page_of_a_machine_shows_what_is_known_of_it(
    health: str, hours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answering(_: HealerApi, _method: str, *way: str, **_options: Any) -> httpx.Response:
        assert way == ("health", "h7", "hours")
        if hours == "none has ended":
            raise HealerRefused(["no hour of such a machine has ended yet"])
        if hours == "nobody answers":
            raise HealerUnavailable("the healer does not answer")
        hour = {"hour": 491_000, "score": 61, "cpu": 93.0, "memory": None}
        return httpx.Response(200, json={"name": "h7", "hours": [hour]})

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    hear(desk, changed(1, "firing"), predicted(), action(1, "running", at=datetime.now(UTC)))
    if health == "reported":
        hear(desk, _health("h7", "cpu.idle is 0 %", cpu=39.0))
    page = desk.call("GET", "/machines/h7")
    assert page.status_code == 200
    assert "rises to 80 %" in page.text
    assert "clean-logs on <bdi>h7</bdi></a> running" in page.text
    assert "No job of yours runs on it" in page.text
    assert "the disk is nearly full" in page.text
    assert ("health has not been reported yet" in page.text) == (health != "reported")
    assert ("cpu.idle is 0 %" in page.text) == (health == "reported")
    assert ('<td class="fair">61</td>' in page.text) == ((health, hours) == ("reported", "ended"))
    assert ('<td class="poor">93</td>' in page.text) == ((health, hours) == ("reported", "ended"))
    away = (health, hours) == ("reported", "nobody answers")
    assert ("when the healer answers again" in page.text) == away
    assert "Memory in use" not in page.text, "nothing is known of it"
    desk.store.close()


def test_the_map_is_narrowed_by_group_term_verdict_and_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = [{"hour": 491_000 + n, "score": 90 - n, "cpu": None, "memory": None} for n in range(20)]

    def answering(_: HealerApi, _method: str, *way: str, **_options: Any) -> httpx.Response:
        assert way == ("health-map",)
        return httpx.Response(200, json={"machines": [{"name": "web-1", "hours": hours}]})

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    hear(desk, _health("web-1", "disk used is 93 %", **{"disk used": 31.0}), _health("db-1", ""))
    hear(desk, _health("web", "", scope="group", hosts="web-*", machines=25))
    page = desk.call("GET", "/machines?group=web&verdict=watch&search=1").text
    assert ('title="web-1"' in page, 'title="db-1"' in page) == (True, False)
    assert 'href="/machines?verdict=watch&amp;search=1&amp;group=web&amp;term=disk+used"' in page
    assert 'href="/machines?verdict=watch&amp;search=1" aria-current="true"' in page, "it widens"
    assert 'aria-label="Of the last 20 hours 11 healthy, 9 to watch"' in page
    assert '<rect class="good" x="4" width="11" height="2"/>' in page
    of_term = desk.call("GET", "/machines?term=disk+used").text
    assert "<span>-31</span>" in of_term
    monkeypatch.setattr(book_pages, "_MACHINES_PAGE", 1)
    assert "offset=1" in desk.call("GET", "/machines").text
    desk.store.close()


def test_machines_show_while_the_healer_is_away_by_their_newest_reports() -> None:
    desk = Desk(**AWAY)
    old = NOW - timedelta(minutes=1)
    hear(desk, _health("h7", "new", cpu=40.0), _health("h7", "old", cpu=60.0, at=old))
    page = desk.call("GET", "/machines")
    assert page.status_code == 200
    assert "<br>new</small>" in page.text
    assert "<br>old</small>" not in page.text
    assert "The last 24 hours show when the healer answers again" in page.text
    assert desk.call("GET", "/machines/h7").status_code == 200
    assert desk.call("GET", "/machines/h8").status_code == 404
    desk.store.close()


def test_a_machine_that_only_alerts_name_is_on_the_map_until_its_health_is_reported() -> None:
    desk = Desk(**AWAY)
    hear(desk, changed(1, "firing"), changed(1, "resolved", alert_id=an_id(2), series=_of("old")))
    page = desk.call("GET", "/machines").text
    assert "Health not reported" in page
    assert 'href="/machines/h7"' in page
    assert "old" not in page, "its alert has ended"
    assert 'href="/machines/h7"' not in desk.call("GET", "/machines?search=web").text
    assert 'href="/machines/h7"' in desk.call("GET", "/machines?search=H7").text
    assert "Health not reported" not in desk.call("GET", "/machines?verdict=sick").text
    hear(desk, _health("h7", "", cpu=0.0))
    assert "Health not reported" not in desk.call("GET", "/machines").text
    desk.store.close()


def _of(host: str) -> dict[str, str]:
    return {"host": host, "item": "cpu.user"}


def test_the_latest_use_of_the_switch_shows_in_whatever_order_its_events_come() -> None:
    desk = Desk(**AWAY)
    uses = [
        HealingSwitched(
            switch_id=an_id(n),
            hosts="web-*",
            stopped=stopped,
            by="Ann",
            reason=f"reason {n}",
            at=NOW + timedelta(minutes=n),
        )
        for n, stopped in enumerate([True, False, True])
    ]
    for heard, last in ((uses[:1], "reason 0"), (uses[1::-1], ""), (uses[::-1], "reason 2")):
        hear(desk, *heard)
        stops = desk.alerts.machines.stopped()
        assert [each.reason for each in stops] == ([last] if last else [])
        page = desk.call("GET", "/machines").text
        assert ("Healing is stopped on <bdi>web-*</bdi>" in page) == bool(last)
    made = {"hosts": "db-*", "by": "Bob", "reason": "", "at": NOW.isoformat()}
    desk.alerts.machines.switched("db-*", httpx.Response(200, json=[made]))
    assert [each.hosts for each in desk.alerts.machines.stopped()] == ["web-*", "db-*"]
    desk.alerts.machines.switched("db-*", httpx.Response(200, json=[]))
    desk.alerts.machines.switched("db-*", httpx.Response(200, text="no list"))
    assert [each.hosts for each in desk.alerts.machines.stopped()] == ["web-*"]
    desk.store.close()


def _health(name: str, first: str, at: datetime = NOW, **more: Any) -> HealthReported:
    fields = {n: more.pop(n) for n in ("scope", "hosts", "machines") if n in more}
    terms = [HealthTerm(name=n, lost=lost, sentence=first) for n, lost in more.items()]
    score = 100 - sum(more.values())
    verdict = "healthy" if score >= 80 else "watch"
    told = {"name": name, "score": score, "verdict": verdict, "terms": terms, "first": first}
    return HealthReported.model_validate(told | fields | {"at": at})


NARRATIVE = {
    "opening": "/var on db7 is out of danger. <b>Nothing</b> to do.",
    "notification": "held",
    "held_by": "silence s1",
    "until": "2026-01-31T14:05:00Z",
    "facts": [
        {
            "at": "2026-01-31T14:00:00Z",
            "kind": "notified",
            "sentence": "notified: firing",
            "deliveries": [
                {"channel": "mail", "recipient": "ann@x", "status": "refused", "problem": "550"}
            ],
        }
    ],
}


def test_the_page_of_an_incident_is_made_from_its_narrative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answering(_: HealerApi, method: str, *way: str, **_options: Any) -> httpx.Response:
        assert (method, way) == ("GET", ("alerts", ALERT, "narrative"))
        return httpx.Response(200, json=NARRATIVE)

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    hear(desk, changed(1, "firing"))
    page = desk.call("GET", f"/alerts/{ALERT}").text
    assert "/var on db7 is out of danger. &lt;b&gt;Nothing" in page
    assert "notified: firing. mail ann@x: refused 550" in page
    assert "silence s1" in page
    assert "2026-01-31T14:05:00+00:00" in page
    desk.store.close()


@pytest.mark.parametrize("answer", [{}, {"opening": 1, "until": "never"}, [], "no"])
def test_a_narrative_that_is_none_does_not_cost_the_page(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HealerApi, "ask", lambda *_, **__: httpx.Response(200, json=answer))
    for settings in (AWAY, {}):
        desk = Desk(**settings)
        hear(desk, changed(1, "firing"))
        assert desk.call("GET", f"/alerts/{ALERT}").status_code == 200
        desk.store.close()


def test_the_list_of_alerts_says_how_far_people_are_notified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def answering(_: HealerApi, method: str, *way: str, **options: Any) -> httpx.Response:
        assert (method, way) == ("GET", ("notifications",))
        asked.append(options["params"]["alert_id"])
        held = {"status": "held", "held_by": "silence <s1>", "until": "2026-01-31T14:05:00Z"}
        return httpx.Response(200, json={ALERT: held})

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    hear(desk, changed(1, "firing"), changed(1, "resolved", alert_id=an_id("over")))
    page = desk.call("GET", "/alerts").text
    assert "held by <bdi>silence &lt;s1&gt;</bdi> until <time" in page
    assert asked == [[ALERT]], "nobody is notified of what has ended"
    desk.store.close()


@pytest.mark.parametrize("answer", [[], "no", {ALERT: {}}, {ALERT: {"status": 1, "until": 7}}])
def test_standings_that_are_none_do_not_cost_the_list(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HealerApi, "ask", lambda *_, **__: httpx.Response(200, json=answer))
    desk = Desk(**AWAY)
    hear(desk, changed(1, "firing"))
    assert "the disk is nearly full" in desk.call("GET", "/alerts").text
    desk.store.close()


def _rule(number: int, state: str, cause: str) -> CorrelationChanged:
    numbers = {"support": 0.1, "confidence": 0.9, "lift": 4.0, "lag_s": 90.0, "count": 23}
    named = {"rule_id": an_id(number), "sequence": 1, "scope": "machine", "at": NOW}
    pair = {"cause": cause, "effect": "http.latency", "transactions": 99}
    return CorrelationChanged.model_validate(numbers | named | pair | {"state": state})


def _silence(name: str, owner: str, **changes: Any) -> SilenceChanged:
    now = datetime.now(UTC)
    times = {"starts_at": now, "ends_at": now + timedelta(hours=9), "at": now}
    fields = {"silence_id": name, "sequence": 1, "matchers": [f'host="{name}"'], "owner": owner}
    return SilenceChanged.model_validate(times | fields | {"reason": "moved"} | changes)


def test_silences_and_rules_show_while_the_healer_is_away_and_how_old_they_are() -> None:
    desk = Desk(**AWAY)
    for path in ("/silences", "/rules"):
        assert "The healer has not reported yet" in desk.call("GET", path).text
    now = datetime.now(UTC)
    hear(desk, _rule(1, "proposed", "disk.io"), _silence("web-1", "Ann"))
    hear(desk, _silence("nightly", "Ops", configured=True))
    for minutes, old in ((9, True), (0, False)):
        at = now - timedelta(minutes=minutes)
        hear(desk, AlertingReported(muted=4, silences=1, rules=1, digest="", at=at))
        for path, words in (("/silences", "host=&#34;web-1&#34;"), ("/rules", "disk.io")):
            page = desk.call("GET", path)
            assert (page.status_code, words in page.text) == (200, True)
            assert ("The healer has not reported since" in page.text) == old
    assert "of 4 open alerts" in " ".join(desk.call("GET", "/silences").text.split())
    desk.store.close()


def test_rules_silences_and_the_audit_log_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        json.dumps(
            {"at": NOW.isoformat(), "event": "incident.acknowledge", "by": by, "about": f"a{n}"}
        )
        for n, by in enumerate(["Ann", "Bob"] * 150)
    ]

    def answering(_: HealerApi, _method: str, *way: str, **options: Any) -> httpx.Response:
        assert way == ("audit",)
        text = "\n".join(lines[options["params"]["after"] :])
        return httpx.Response(200, text=text, headers={"audit-number": str(len(lines))})

    monkeypatch.setattr(HealerApi, "ask", answering)
    desk = Desk(**AWAY)
    hear(desk, _rule(1, "proposed", "disk.io"), _rule(2, "accepted", "net.if"))
    hear(desk, _silence("web-1", "Ann"), _silence("db-1", "Bob"))
    page = desk.call("GET", "/rules?search=LATENCY&state=accepted").text
    assert ("net.if" in page, "disk.io" in page) == (True, False)
    assert 'href="/rules?state=proposed&amp;search=LATENCY">proposed <small>1</small>' in page
    page = desk.call("GET", "/silences?search=bob").text
    assert ("db-1" in page, "web-1" in page) == (True, False)
    assert "No silence matches" in desk.call("GET", "/silences?search=nobody").text
    page = desk.call("GET", "/audit?search=bob").text
    assert (page.count("Bob acknowledged"), page.count("Ann acknowledged")) == (100, 0)
    older = desk.call("GET", "/audit?before=102&search=bob").text
    assert 'href="/audit?before=102&amp;search=bob"' in page
    assert older.count("Bob acknowledged") == 50, "none is shown twice, none is left out"
    assert "No entry from no. 1 on matches" in desk.call("GET", "/audit?search=nobody").text
    desk.store.close()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
@pytest.mark.parametrize("undo", [True, False])
def test_evidence_is_shown_to_who_decides_and_whether_an_action_is_undone_to_all(
    role: Role, undo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"columns": {"size": "9 GiB", "path": "/var/<b>a"}}, {"columns": {"path": "/var/b"}}]
    table = {"title": "Largest files", "rows": rows, "truncated": True}
    told = httpx.Response(200, json=NARRATIVE | {"evidence": [table]})
    monkeypatch.setattr(HealerApi, "ask", lambda *_way, **_options: told)
    desk = Desk(api_token="root", **AWAY)
    hear(desk, changed(1, "firing"), action(1, "proposed", expires=None, undo=undo))
    page = desk.call("GET", f"/alerts/{ALERT}", headers=_bearer(desk, "Ann", role)).text
    assert ("it is undone." in page) == undo
    assert ("the change stays, and people are notified." in page) != undo
    shown = role is Role.OPERATOR
    assert ("Largest files: 2 rows, cut short" in page) == shown
    assert ("/var/&lt;b&gt;a" in page) == shown
    desk.store.close()
