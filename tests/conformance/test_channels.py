"""Every channel: what it sends, and what it makes of the other side's answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import ValidationError

from services.healer.model.notice import Line, Notice, Summary
from services.healer.notify.channels import (
    Channel,
    ChannelRefused,
    ChannelUnavailable,
    Tools,
    parse,
    registered,
    smtp,
)
from services.healer.notify.channels.smtp import MailUnavailable
from services.healer.settings import HealerSettings
from shared.contracts.alerts import SeriesRef, Severity
from shared.embedded.mailbox import EmbeddedMailbox
from tests.unit.healer.test_mail import notice

NOW = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
NASTY = "<!channel> </pre>\r\nX-Evil: 1 ```"


@dataclass
class Server:
    """A real HTTP server that answers as it is told."""

    status: int = 200
    refuses: bytes = b""
    """What is in a body that it answers with 400."""
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.seen]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.seen.append((dict(self.headers), body))
            bad = made.refuses and made.refuses in body
            self.send_response(400 if bad else made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{http.server_port}/hook"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield made
    http.shutdown()
    http.server_close()
    thread.join()


def line(number: int, kind: str = "firing") -> Line:
    return Line.model_validate(
        {
            "incident_id": f"0000000{number}-aaaa",
            "kind": kind,
            "severity": "warning",
            "series": SeriesRef(host=f"h{number}", item="app.errors", labels={"rack": "r1"}),
            "family": "other",
            "value": 9,
            "sentence": NASTY,
            "since": NOW,
            "labels": {"host": f"h{number}", "item": "app.errors", "rack": "r1"},
        }
    )


def told(kind: str = "firing") -> Notice:
    return notice(
        kind=kind,
        incident_id="incident-0",
        group="host=host17",
        sentence=NASTY,
        labels={"host": "host17", "family": "disk", "severity": "critical"},
        also=(line(1),),
    )


def summary(kind: str = "storm") -> Summary:
    return Summary.model_validate(
        {
            "message_id": "s.1@barograph",
            "kind": kind,
            "severity": Severity.CRITICAL,
            "headline": "many",
            "rows": [line(n).model_dump() for n in range(3)],
            "at": NOW,
        }
    )


def made(kind: str, server: Server, **more: Any) -> Channel:
    own = {
        "mail": {"to": ["a@example.org"]},
        "pagerduty": {"routing_key": "R" * 32, "url": server.url},
    }
    settings = own.get(kind, {"url": server.url})
    (channel,) = parse([{"type": kind, "name": "x", **settings, **more}])
    return channel


HTTP = sorted(set(registered()) - {"mail"})


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize("what", [told(), told("resolved"), summary(), summary("test")])
def test_every_channel_sends_everything_as_json_and_the_same_twice(
    kind: str, what: Notice | Summary, server: Server
) -> None:
    channel = made(kind, server)
    channel.send(what, "", Tools(page_url="https://b.example.org"))
    once = len(server.seen)
    channel.send(what, "", Tools(page_url="https://b.example.org"))
    assert server.bodies()[:once] == server.bodies()[once:]
    assert "X-Evil" not in {name for headers, _ in server.seen for name in headers}


@pytest.mark.parametrize("kind", HTTP)
def test_every_channel_tells_later_from_never(kind: str, server: Server) -> None:
    channel = made(kind, server)
    for status, error in (
        (503, ChannelUnavailable),
        (429, ChannelUnavailable),
        *((mendable, ChannelUnavailable) for mendable in (301, 302, 307, 308)),
        *((mendable, ChannelUnavailable) for mendable in (401, 403, 404, 407, 410, 451)),
        *((never, ChannelRefused) for never in (400, 413, 415, 422)),
    ):
        server.status = status
        with pytest.raises(error, match=str(status)):
            channel.send(told(), "", Tools())
    server.status, server.headers = 429, {"Retry-After": "77"}
    with pytest.raises(ChannelUnavailable) as caught:
        channel.send(told(), "", Tools())
    assert caught.value.after_s == 77
    nobody = made(kind, Server(url="http://127.0.0.1:1/"))
    with pytest.raises(ChannelUnavailable, match="ConnectError"):
        nobody.send(told(), "", Tools())


def test_a_template_decides_and_a_broken_one_loses_nothing(server: Server) -> None:
    fine = made("webhook", server, title_template="{{ notice.kind|upper }} {{ lines|length }}")
    fine.send(told(), "", Tools())
    assert server.bodies()[0]["title"] == "FIRING 2"
    broken = made("webhook", server, title_template="{{ notice.nothing.more }}")
    broken.send(told(), "", Tools())
    assert "df.bytes.used.percent of /log on host17" in server.bodies()[1]["title"]
    with pytest.raises(ValueError, match="not a usable template"):
        made("webhook", server, text_template="{% for %}")
    with pytest.raises(ValueError, match="unknown in a template: told; `told` is called `notice`"):
        made("webhook", server, title_template="{{ told.kind }}")
    sly = made("webhook", server, text_template="{{ ''.__class__.__mro__ }}")
    sly.send(told(), "", Tools())
    assert "object" not in server.bodies()[2]["text"].split("template")[0]


@pytest.mark.parametrize(
    "expression",
    [
        "'{}'.format()",
        "'{host}'.format(notice=1)",
        "notice.labels.pop('absent')",
        "notice.at.strftime(1)",
        "1 // 0",
        "notice.series.text(1)",
    ],
)
def test_a_template_whose_expression_fails_loses_no_notice(expression: str, server: Server) -> None:
    broken = made("webhook", server, title_template=f"{{{{ {expression} }}}}")
    broken.send(told(), "", Tools())
    assert "template of" in server.bodies()[0]["title"]


def test_slack_cannot_be_made_to_call_everybody(server: Server) -> None:
    made("slack", server).send(told(), "", Tools())
    assert "<!channel>" not in server.seen[0][1].decode()
    assert "&lt;!channel&gt;" in server.seen[0][1].decode()


@pytest.mark.parametrize("item", ["@all", "[x](https://evil.example)", "www.evil.example", "a@b.c"])
def test_no_title_calls_anybody_or_links_on_servers_like_slack(item: str, server: Server) -> None:
    shown = told().model_copy(update={"series": SeriesRef(host="h", item=item)})
    made("slack", server).send(shown, "", Tools())
    (body,) = server.bodies()
    (block, _) = body["attachments"][0]["blocks"]
    for text in (body["text"], block["text"]["text"]):
        assert not re.search(r"@\w|://|\]\(|www\.", text)
        assert item in text.replace("\u200b", "")


def test_a_webhook_is_signed(server: Server) -> None:
    made("webhook", server, secret="s3cret", headers={"X-Team": "a"}).send(told(), "", Tools())
    headers, body = server.seen[0]
    signature = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Barograph-Signature"] == f"sha256={signature}"
    assert (headers["X-Team"], headers["Idempotency-Key"]) == ("a", told().message_id)


def test_alertmanagers_body_is_version_4(server: Server) -> None:
    made("alertmanager", server).send(told(), "", Tools(page_url="https://b"))
    (body,) = server.bodies()
    assert set(body) == {
        "version",
        "groupKey",
        "truncatedAlerts",
        "status",
        "receiver",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "alerts",
    }
    assert (body["version"], body["status"], body["groupLabels"]) == (
        "4",
        "firing",
        {"host": "host17"},
    )
    first = body["alerts"][0]
    assert first["labels"]["alertname"] == "df.bytes.used.percent"
    assert first["endsAt"] == "0001-01-01T00:00:00Z"


def test_pagerduty_opens_acknowledges_and_resolves_by_incident(server: Server) -> None:
    channel = made("pagerduty", server)
    for kind in ("firing", "acknowledged", "resolved"):
        channel.send(told(kind), "", Tools())
    about = [e for e in server.bodies() if e["dedup_key"] == "incident-0"]
    assert [e["event_action"] for e in about] == ["trigger", "acknowledge", "resolve"]
    assert about[0]["payload"]["severity"] == "critical"
    assert len(server.bodies()) == 6
    server.seen.clear()
    channel.send(summary("storm over"), "", Tools())
    assert [e["event_action"] for e in server.bodies()] == ["resolve"]


@pytest.mark.parametrize("kind", ["webhook", "alertmanager", "pagerduty"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min_severity": "critical"}, 1),
        ({"only": ['host="h1"']}, 2),
        ({"only": ['host="elsewhere"']}, 1),
        ({}, 3),
    ],
)
def test_a_channel_gets_of_a_group_what_it_takes(
    kind: str, settings: dict[str, Any], expected: int, server: Server
) -> None:
    channel = made(kind, server, **settings)
    group = told().model_copy(update={"also": (line(1), line(2))})
    channel.send(channel.part_of(group), "", Tools())
    bodies = server.bodies()
    if kind == "pagerduty":
        keys = [body["dedup_key"] for body in bodies]
        # Nobody is called for the alert that the notice is about if the channel takes another.
        mine = ["00000001-aaaa"] if expected == 2 else ["incident-0"]
        assert keys == (mine if expected < 3 else [*mine, "00000001-aaaa", "00000002-aaaa"])
    else:
        assert len(bodies[0]["alerts"]) == expected


def test_an_event_that_pagerduty_refuses_keeps_back_no_other(server: Server) -> None:
    server.refuses = b'"incident-0"'
    with pytest.raises(ChannelRefused):
        made("pagerduty", server).send(told(), "", Tools())
    assert [e["dedup_key"] for e in server.bodies()] == ["incident-0", line(1).incident_id]


def test_the_mail_channel_writes_to_each_on_their_own(tmp_path: Any) -> None:
    box = EmbeddedMailbox(tmp_path)
    box.start()
    try:
        (channel,) = parse([{"type": "mail", "name": "m", "to": ["a@x.org", "b@x.org"]}])
        tools = Tools(smtp_url=box.url, mail_from="b@example.org")
        for number, recipient in enumerate(channel.recipients()):
            again = told().model_copy(update={"message_id": f"m.{number}@barograph"})
            channel.send(again, recipient, tools)
    finally:
        box.stop()
    assert sorted(str(mail["To"]) for mail in box.messages()) == ["a@x.org", "b@x.org"]


def test_a_channel_says_what_it_wants() -> None:
    (picky,) = parse(
        [
            {
                "type": "slack",
                "name": "x",
                "url": "http://x/",
                "only": ['family="net"'],
                "min_severity": "warning",
                "resolved": False,
            }
        ]
    )
    net = notice(labels={"family": "net"}, severity="warning")
    assert picky.wants(net)
    assert not picky.wants(notice(labels={"family": "disk"}))
    assert not picky.wants(notice(labels={"family": "net"}, kind="resolved"))
    assert not picky.wants(notice(labels={"family": "net"}, severity="info"))
    (switch,) = parse([{"type": "deadman", "name": "d", "url": "http://x/"}])
    assert [switch.wants(w) for w in (net, summary(), summary("canary"))] == [False, False, True]


def test_every_fault_of_the_settings_is_named_and_no_secret_shown() -> None:
    bad = [
        {"type": "fax", "name": "a"},
        {"type": "slack", "name": "B!", "url": "ftp://x"},
        {"type": "mail", "name": "m", "to": ["nobody"]},
        {"type": "webhook", "name": "w", "url": "http://x/"},
        {"type": "webhook", "name": "w", "url": "http://x/"},
    ]
    with pytest.raises(ValidationError) as caught:
        HealerSettings.model_validate_strings({"channels": json.dumps(bad)})
    text = str(caught.value)
    for fault in ("0.type: must be one of", "1.name", "1.url", "2.to", "two channels are named w"):
        assert fault in text
    good = [{"type": "slack", "name": "s", "url": "https://hooks.example.org/SECRET"}]
    settings = HealerSettings.model_validate_strings({"channels": json.dumps(good)})
    assert "SECRET" not in settings.shown()["channels"]
    step = {"escalation": [{"after_s": 5, "channels": ["nobody"]}]}
    with pytest.raises(ValidationError, match="no channel nobody"):
        HealerSettings.model_validate_strings({"alerting": json.dumps(step)})


def test_a_mail_server_that_cannot_be_reached_leaves_no_thread_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refused)
    before = threading.active_count()
    letter = EmailMessage()
    for url in ("smtp://mail.example.org", "smtps://mail.example.org") * 5:
        with pytest.raises(MailUnavailable):
            smtp.send(url, letter)
    for thread in [each for each in threading.enumerate() if isinstance(each, threading.Timer)]:
        assert thread.finished.is_set()
        thread.join()
    assert threading.active_count() <= before
