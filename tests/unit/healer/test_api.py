"""The healer's HTTP: alerts in, links that ask before they act, silences, channels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.healer.api.app import create_app
from services.healer.api.dependencies import Healer
from services.healer.model.notification import (
    CHANNEL_FAILURES,
    DELIVERIES,
    NOTIFICATION_STATES,
    ChannelFailure,
    Delivery,
)
from services.healer.notify.channels import ChannelUnavailable, Tools
from services.healer.notify.links import Link, LinkMaker, Links
from services.healer.notify.matchers import labels_of
from services.healer.notify.silences import Silence
from shared.contracts import AlertChanged, Message
from shared.contracts.alerts import SeriesRef, Severity
from shared.observe import OUTSIDE_ALERTS
from shared.service import Context
from tests import asgi
from tests.unit.healer.test_alerting import over, silence, trouble
from tests.unit.healer.test_delivering import Other, Spoken
from tests.unit.healer.test_incidents import Desk, anomaly

KEY = b"k" * 32
TOKEN = {"Authorization": "Bearer secret"}


class Caller:
    """Sends requests to an application, without a network."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._transport = httpx.ASGITransport(app)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return asgi.request(self._transport, "http://testserver", method, url, **options)

    def get(self, url: str, **options: Any) -> httpx.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.request("POST", url, **options)

    def delete(self, url: str) -> httpx.Response:
        return self.request("DELETE", url)


@dataclass
class _Unit:
    records: Any
    sent: list[Message]

    def emit(self, *messages: Message) -> None:
        self.sent += messages


@dataclass
class Door:
    """A healer behind its application."""

    token: str = ""
    other: Other = field(default_factory=Other)
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = Desk(channels=(Spoken(name="spoken", other=self.other),))
        settings = self.desk.settings.model_copy(
            update={"http_token": SecretStr(self.token), "public_url": "http://testserver"}
        )
        handlers = self.desk.handlers
        self.links = Links([KEY])
        healer = Healer(
            settings=settings,
            handlers=handlers,
            unit=self.unit,
            clock=lambda: self.desk.now,
            context=lambda records: Context(self.desk.now, "", 1, records),
            links=self.links,
            clicks=handlers.clicks,
            tools=Tools(),
        )
        self.http = Caller(create_app(healer))

    @contextmanager
    def unit(self) -> Iterator[_Unit]:
        with self.desk.store.transaction() as records:
            yield _Unit(records, self.sent)

    def post(self, *alerts: dict[str, Any]) -> Any:
        return self.http.post("/api/v2/alerts", json=list(alerts))

    def states(self) -> list[str]:
        return [str(m.state) for m in self.sent if isinstance(m, AlertChanged)]

    def link(self, purpose: Any, subject: str, hours: float = 1) -> str:
        link = Link(purpose, subject, "Ann", self.desk.now + timedelta(hours=hours))
        return self.links.url("", link)


def posted(**changes: Any) -> dict[str, Any]:
    labels = {"alertname": "HighErrorRate", "instance": "web-1:9090", "severity": "page"}
    alert = {
        "labels": labels,
        "annotations": {"summary": "5 % of requests fail"},
        "startsAt": "2024-01-01T00:00:00Z",
        "endsAt": "2024-01-01T00:04:00Z",
        "generatorURL": "http://prometheus/graph",
    }
    return alert | changes


def test_what_prometheus_posts_is_one_alert_until_it_ends() -> None:
    door = Door()
    assert door.post(posted()).status_code == 200
    assert door.post(posted(endsAt="2024-01-01T00:05:00Z")).json() == {"taken": 1}
    (changed,) = door.sent
    assert isinstance(changed, AlertChanged)
    assert changed.routing_key() == "alert.firing.critical.other.web-1"
    assert changed.sentence == "5 % of requests fail"
    door.post(posted(endsAt="2024-01-01T00:00:00Z"))
    assert door.states() == ["firing", "resolved"]


def test_what_is_not_repeated_ends_and_comes_back_when_it_is() -> None:
    door = Door()
    door.post(posted())
    assert [str(m.state) for m in door.desk.later(239) if isinstance(m, AlertChanged)] == []
    ended = door.desk.later(2)
    assert [str(m.state) for m in ended if isinstance(m, AlertChanged)] == ["resolved"]
    door.desk.later(60)
    door.post(posted(endsAt="2024-01-01T00:09:00Z"))
    assert door.states() == ["firing", "firing"]


def test_an_alertmanager_says_itself_when_it_is_over() -> None:
    door = Door()
    alert = posted(status="firing", endsAt="0001-01-01T00:00:00Z")
    body = {"version": "4", "status": "firing", "alerts": [alert]}
    assert door.http.post("/webhooks/alertmanager", json=body).status_code == 200
    door.desk.later(100_000)
    assert door.states() == ["firing"]
    done = {"version": "4", "alerts": [alert | {"status": "resolved"}]}
    door.http.post("/webhooks/alertmanager", json=done)
    assert door.states() == ["firing", "resolved"]
    wrong = door.http.post("/webhooks/alertmanager", json={"version": "3", "alerts": []})
    assert "only version 4" in wrong.text


def test_good_alerts_are_taken_and_bad_ones_named() -> None:
    door = Door()
    answer = door.post({"labels": {}}, posted(), {"labels": {"a": [1]}}, posted(startsAt="x"), 7)
    assert answer.status_code == 400
    fields = {fault["field"].split(".")[0] for fault in answer.json()["faults"]}
    assert fields == {"0", "2", "3", "4"}
    assert door.states() == ["firing"]
    assert door.http.post("/api/v2/alerts", json={"a": 1}).status_code == 400


@pytest.mark.parametrize("name", ["", "ü ü", "-..-", "x\r\ny", "a" * 500])
def test_any_names_become_names_of_ours(name: str) -> None:
    door = Door()
    answer = door.post(posted(labels={"alertname": name, "instance": name, "ü": "1"}))
    assert answer.status_code == 200
    assert door.states() == ["firing"]


def opened(door: Door) -> str:
    changed = door.desk.take(trouble())[0]
    assert isinstance(changed, AlertChanged)
    return changed.alert_id


def test_a_link_asks_first_and_acts_by_its_button_only_as_often_as_it_likes() -> None:
    door = Door(token="secret")
    incident = opened(door)
    url = door.link("acknowledge", incident)
    for _ in range(3):
        asked = door.http.get(url)
        assert (asked.status_code, door.sent) == (200, [])
        assert "Take care of host1 app.errors, as Ann?" in asked.text
        assert asked.headers["referrer-policy"] == "no-referrer"
    for _ in range(2):
        done = door.http.post(url, headers={"Origin": "null"})
        assert "acknowledged by Ann" in done.text
    (changed,) = door.sent
    assert isinstance(changed, AlertChanged)
    assert changed.acknowledged_by == "Ann"


def test_a_silence_link_mutes_the_series() -> None:
    door = Door()
    url = door.link("silence", opened(door))
    assert "is silenced until 2024-01-01 04:00 UTC" in door.http.post(url).text
    door.desk.take(over(trouble()), trouble(number=2))
    told = [notice.kind for notice in door.desk.notices()]
    assert told == ["firing", "resolved"]


@pytest.mark.parametrize("name", ["severity", "family", "item", "exported_severity"])
def test_a_silence_link_mutes_a_series_with_a_label_named_like_ours(name: str) -> None:
    door = Door()
    odd = SeriesRef(host="host1", item="log_messages_total", labels={name: "error", "app": "a"})
    door.desk.take(anomaly(odd))
    with door.desk.store.transaction() as records:
        (notification,) = records.find(NOTIFICATION_STATES)
    door.http.post(door.link("silence", notification.incident_id))
    (made,) = door.http.get("/api/v1/silences").json()
    muted = Silence.model_validate(made)
    assert muted.covers(notification.labels)
    other = odd.model_copy(update={"labels": {name: "debug", "app": "a"}})
    assert not muted.covers(labels_of(other, "other", Severity.WARNING))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"starts_at": "2020-01-01T00:00:00Z", "ends_at": "2020-01-02T00:00:00Z"}, "has passed"),
        ({"first": "2024-02-04T22:00"}, "no window between"),
    ],
)
def test_a_silence_that_would_never_mute_is_refused_with_the_reason(
    changes: dict[str, str], why: str
) -> None:
    door = Door()
    body = silence().model_dump(mode="json", exclude={"silence_id", "starts_at"})
    if "first" in changes:
        body |= {"ends_at": "2024-01-20T00:00:00Z"}
        body["recurrence"] = {"rule": "FREQ=WEEKLY;BYDAY=SU", "duration_s": 60, **changes}
    else:
        body |= changes
    for path in ("/api/v1/silences/preview", "/api/v1/silences"):
        refused = door.http.post(path, json=body)
        assert (refused.status_code, why in refused.text) == (422, True)
    assert door.http.get("/api/v1/silences").json() == []


def test_a_dead_link_says_why_and_does_nothing() -> None:
    door = Door()
    incident = opened(door)
    url = door.link("acknowledge", incident)
    changed = url[:-2] + ("aa" if url[-2:] != "aa" else "bb")
    unknown = door.link("approve", incident)
    foreign = door.link("acknowledge", "nobody")
    for path, status in ((changed, 404), ("/links/x", 404), (unknown, 410), (foreign, 410)):
        assert door.http.get(path).status_code == status
        assert door.http.post(path).status_code == status
    door.desk.later(3601)
    late = door.http.post(url)
    assert (late.status_code, "expired at" in late.text) == (410, True)
    assert door.sent == []


def test_what_a_link_says_of_an_alert_stays_text() -> None:
    door = Door()
    door.post(posted(labels={"alertname": "x", "instance": "h", "a": "<script>alert(1)</script>"}))
    with door.desk.store.transaction() as records:
        (notification,) = records.find(NOTIFICATION_STATES)
    page = door.http.get(door.link("acknowledge", notification.incident_id)).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "matchers", [['host=~".*"'], ['host=""'], ['host!="db7"', 'item=~"(load)?"'], ['team!~".+"']]
)
def test_a_slip_does_not_silence_everything(matchers: list[str]) -> None:
    door = Door()
    body = silence().model_dump(mode="json", exclude={"silence_id", "starts_at"})
    for path in ("/api/v1/silences/preview", "/api/v1/silences"):
        refused = door.http.post(path, json=body | {"matchers": matchers})
        assert refused.status_code == 422
        assert "these matchers fit every alert" in refused.json()["faults"][0]["problem"]
    needed = body | {"matchers": [*matchers, 'severity=~".+"']}
    assert door.http.post("/api/v1/silences", json=needed).status_code == 201


@pytest.mark.parametrize(
    ("ends", "kept"),
    [
        ("2040-01-01T00:00:00Z", "2040-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_silence_may_last_to_the_end_of_the_calendar(ends: str, kept: str) -> None:
    door = Door()
    asked = {
        "matchers": ["item=x"],
        "starts_at": "0001-01-01T00:00:00+14:00",
        "ends_at": ends,
        "owner": "a",
        "reason": "b",
    }
    assert door.http.post("/api/v1/silences/preview", json=asked).status_code == 200
    made = door.http.post("/api/v1/silences", json=asked)
    assert (made.status_code, made.json()["ends_at"]) == (201, kept)
    written = made.json()
    assert written.pop("change")["ends_at"] == kept
    assert door.http.get("/api/v1/silences").json() == [written]


def test_silences_are_previewed_made_listed_and_ended() -> None:
    door = Door()
    opened(door)
    body = silence().model_dump(mode="json", exclude={"silence_id", "starts_at"})
    preview = door.http.post("/api/v1/silences/preview", json=body).json()
    assert [row["series"]["host"] for row in preview["open"]] == ["host1"]
    assert door.http.get("/api/v1/silences").json() == []
    made = door.http.post("/api/v1/silences", json=body)
    assert made.status_code == 201
    written = made.json()
    event = written.pop("change")
    assert door.http.get("/api/v1/silences").json() == [written]
    path = f"/api/v1/silences/{written['silence_id']}"
    ended = door.http.delete(f"{path}?by=Bob")
    assert ended.status_code == 200
    assert ended.json()["change"]["sequence"] > event["sequence"]
    assert door.http.delete(path).status_code == 404
    audited = [json.loads(line) for line in door.http.get("/api/v1/audit").text.splitlines()]
    noted = [(e["event"], e["by"], e["matchers"]) for e in audited if "silence" in e["event"]]
    made_of = 'host="host1"'
    assert noted == [("silence made", "Ann", made_of), ("silence ended", "Bob", made_of)]
    bad = door.http.post("/api/v1/silences", json=body | {"owner": "", "matchers": ["x"]})
    assert bad.status_code == 422
    # That no matcher is left is the first fault's consequence, not another fault.
    assert [f["field"] for f in bad.json()["faults"]] == ["matchers.0", "owner"]
    assert bad.json()["faults"][0]["problem"].startswith("'x' is not a matcher")
    none = door.http.post("/api/v1/silences", json=body | {"matchers": []}).json()["faults"]
    assert [f["field"] for f in none] == ["matchers"]


def test_alerts_are_listed_and_acknowledged() -> None:
    door = Door()
    incident = opened(door)
    (shown,) = door.http.get("/api/v1/alerts").json()
    assert (shown["incident_id"], shown["status"]) == (incident, "notified")
    path = f"/api/v1/alerts/{incident}/acknowledge"
    assert door.http.post(path, json={"by": "Ann"}).status_code == 204
    assert door.http.get("/api/v1/alerts").json()[0]["acknowledged"]
    assert door.http.post("/api/v1/alerts/x/acknowledge", json={"by": "A"}).status_code == 404


def test_a_channel_is_tested_and_says_what_went_wrong() -> None:
    door = Door()
    assert door.http.post("/api/v1/channels/spoken/test").status_code == 200
    assert len(door.other.taken) == 1
    door.other.answer = lambda _id: ChannelUnavailable("503 closed")
    answer = door.http.post("/api/v1/channels/spoken/test")
    assert (answer.status_code, answer.json()["failed"]) == (502, {"spoken": "503 closed"})
    assert door.http.post("/api/v1/channels/none/test").status_code == 404
    names = [channel["name"] for channel in door.http.get("/api/v1/channels").json()]
    assert names == ["mail", "spoken"]


def test_a_channel_says_when_it_took_a_notice_last_and_since_when_it_fails() -> None:
    door = Door()
    opened(door)

    def spoken() -> dict[str, Any]:
        return next(c for c in door.http.get("/api/v1/channels").json() if c["name"] == "spoken")

    assert (spoken()["last_sent"], spoken()["failing_since"]) == (None, None)
    keep = timedelta(days=door.desk.settings.keep_days)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with door.desk.store.transaction() as records:
        told = {"delivery_id": "d", "message_id": "m", "thread": "t", "channel": "spoken"}
        records.put(
            DELIVERIES, Delivery.model_validate(told | {"status": "sent", "due": now + keep})
        )
        records.put(CHANNEL_FAILURES, ChannelFailure(recipient="spoken", since=now))
    assert [datetime.fromisoformat(spoken()[name]) for name in ("last_sent", "failing_since")] == [
        now,
        now,
    ]


def test_the_calendar_tells_every_window_from_now_on() -> None:
    door = Door()
    body = silence().model_dump(mode="json", exclude={"silence_id", "starts_at"})
    made = door.http.post("/api/v1/silences", json=body).json()
    (window,) = door.http.get("/api/v1/silences/calendar").json()
    assert window["silence_id"] == made["silence_id"]
    assert datetime.fromisoformat(window["end"]) <= datetime.fromisoformat(made["ends_at"])
    assert door.http.get("/api/v1/silences/calendar?days=61").status_code == 422


def test_nobody_without_the_token_and_no_foreign_page_gets_in() -> None:
    door = Door(token="secret")
    assert door.http.get("/api/v1/alerts").status_code == 401
    assert door.http.get("/api/v1/alerts", headers=TOKEN).status_code == 200
    open_door = Door()
    assert open_door.http.get("/api/v1/alerts", headers={"Host": "evil"}).status_code == 400
    for origin in ("http://evil.example", "null"):
        answer = open_door.http.post("/api/v2/alerts", json=[], headers={"Origin": origin})
        assert answer.status_code == 403


def test_a_mails_links_are_those_the_healer_offers_for_the_one_it_is_sent_to() -> None:
    door = Door()
    opened(door)
    (notice,) = door.desk.mails()
    maker = LinkMaker(
        door.links, "http://testserver/", timedelta(hours=1), frozenset(door.desk.handlers.clicks)
    )
    offered = dict(maker.of(notice, "b@example.org"))
    assert set(offered) == {"Acknowledge", "Silence", "Not an anomaly"}
    token = re.sub(r".*/links/", "", offered["Acknowledge"])
    assert door.links.read(token, door.desk.now).by == "b@example.org"


def test_one_alert_is_shown_with_all_that_is_known_of_it() -> None:
    door = Door()
    door.desk.take(anomaly())
    (open_one,) = door.http.get("/api/v1/alerts").json()
    shown = door.http.get(f"/api/v1/alerts/{open_one['incident_id']}").json()
    assert shown["series"]["item"] == "cpu.idle"
    assert shown["observation"]["sentence"] == "it is beyond its threshold"
    assert shown["evidence"] is None
    assert door.http.get("/api/v1/alerts/unknown").status_code == 404


def test_whom_jobs_may_name_is_said_before_one_is_handed_in() -> None:
    door = Door()
    asked = "/api/v1/job-notices/refused?to=spoken&to=mail:x@example.org"
    found = door.http.get(asked).json()
    assert found == {"refused": ["spoken", "mail:x@example.org"], "channels": []}
    assert door.http.get("/api/v1/job-notices/refused?to=a%20b").status_code == 422


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None, "x"])
def test_alerts_are_json_whatever_their_sender_calls_it(kind: str | None) -> None:
    door = Door()
    headers = {"content-type": kind} if kind else {}
    content = json.dumps([posted()]).encode()
    assert door.http.post("/api/v2/alerts", content=content, headers=headers).status_code == 200
    assert door.states() == ["firing"]


@pytest.mark.parametrize(
    ("content", "coding", "said"),
    [
        (b"host=db7&service=disk", "identity", "not JSON"),
        ('[{"labels": {"alertname": "grün"}}]'.encode("latin-1"), "identity", "not JSON"),
        (b"[" * 100_000, "identity", "nested too deeply"),
        (b'[{"labels":{"a":"b"}},]', "identity", "not JSON"),
        (b"", "identity", "not JSON"),
        (b"\x1f\x8b\x08", "gzip", "gzip is not taken"),
    ],
)
def test_a_body_that_is_no_json_is_refused_with_the_reason(
    content: bytes, coding: str, said: str
) -> None:
    answer = Door().http.post(
        "/webhooks/alertmanager", content=content, headers={"content-encoding": coding}
    )
    assert (answer.status_code, said in answer.json()["faults"][0]["problem"]) == (400, True)


def test_an_unknown_webhook_is_told_what_to_send() -> None:
    for body in ({"event_id": 1, "host": "db7"}, {"Type": "Notification"}):
        answer = Door().http.post("/webhooks/alertmanager", json=body)
        assert '{"alerts": [' in answer.json()["faults"][0]["problem"]


def test_alerts_that_a_webhook_left_out_are_counted() -> None:
    counted = OUTSIDE_ALERTS.labels("truncated")._value
    before, door = counted.get(), Door()
    for left_out in (5, 0, -3, "x", None, True):
        body = {"version": "4", "alerts": [posted()], "truncatedAlerts": left_out}
        assert door.http.post("/webhooks/alertmanager", json=body).status_code == 200
    assert counted.get() == before + 5


def test_whatever_is_refused_is_told_in_one_form() -> None:
    door = Door()
    for answer in (door.http.get("/nothing"), door.http.get("/api/v2/alerts")):
        assert answer.json()["faults"][0]["problem"] in {"Not Found", "Method Not Allowed"}


def test_who_sends_to_the_first_api_is_told_the_address_of_the_second() -> None:
    door = Door()
    answer = door.http.post("/api/v1/alerts", json=[{"labels": {"alertname": "x"}}])
    assert answer.status_code == 410
    assert "/api/v2/alerts" in answer.json()["faults"][0]["problem"]
    assert door.http.get("/api/v1/alerts").status_code == 200
