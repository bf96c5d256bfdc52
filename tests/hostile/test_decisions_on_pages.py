"""What people decide on the pages is theirs: no form, name or cookie makes the page do more."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest

from services.client import healer_api, sessions, turns
from services.client.alerts.machines import health_reported
from shared.contracts import HealthReported
from shared.service.http import HttpServer
from tests.unit.client.test_api import JOB, NOW, Desk
from tests.waiting import eventually

FORM = {"accept": "text/html", "content-type": "application/x-www-form-urlencoded"}


class Peer(BaseHTTPRequestHandler):
    """In the healer's place: notes what it is asked, and answers with what it was given."""

    asked: ClassVar[list[tuple[str, str, Any]]] = []
    answers: ClassVar[bytes] = b"{}"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.command, self.path, json.loads(body or b"null")))
        self.send_response(200)
        self.send_header("content-length", str(len(self.answers)))
        self.end_headers()
        self.wfile.write(self.answers)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - names that the library asks for

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def peer() -> Iterator[type[Peer]]:
    Peer.asked, Peer.answers = [], b"{}"
    yield Peer
    Peer.answers = b"{}"


@pytest.fixture
def desk(peer: type[Peer], monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    # Failed attempts are counted within a minute, which a busy machine takes for a few of them.
    monkeypatch.setattr(sessions, "_WITHIN_S", 86_400.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), peer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    made = Desk(api_token="right", healer_api_url=address, healer_token="secret")
    yield made
    made.store.close()
    server.shutdown()
    server.server_close()


def signed_in(desk: Desk) -> tuple[dict[str, str], str]:
    """Headers with a new session's cookie, and what its forms carry."""
    entered = desk.call("POST", "/login", data={"token": "right", "name": "Ann"})
    headers = {"cookie": entered.headers["set-cookie"].partition(";")[0], "accept": "text/html"}
    page = desk.call("GET", "/silences/new", headers=headers).text
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found
    return headers, found[1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("&".join(f"a{n}=1" for n in range(500)), 422),
        ("token=%00&name=%00", 422),
        ("token=%ed%a0%80&name=%ff", 403),
        ("token[]=right", 403),
        ("token=right&token=wrong&name=" + "%f0%9f%94%a5" * 200, 303),
    ],
)
def test_any_form_at_the_login_has_an_answer(desk: Desk, body: str, status: int) -> None:
    assert desk.call("POST", "/login", content=body, headers=FORM).status_code == status


def test_a_session_that_was_left_is_over_for_copies_of_its_cookie_too(desk: Desk) -> None:
    copied, csrf = signed_in(desk)
    other, _ = signed_in(desk)
    left = desk.call("POST", "/logout", data={"csrf": csrf}, headers=copied)
    assert left.headers["location"] == "/login"
    assert desk.call("GET", "/alerts", headers=copied).headers["location"] == "/login"
    again = desk.call("POST", "/alerts/acknowledge", data={"csrf": csrf}, headers=copied)
    assert again.status_code == 303, "it is sent to sign in"
    assert again.headers["location"] == "/login"
    assert desk.call("GET", "/alerts", headers=other).status_code == 200
    assert desk.sent == []


def test_who_guesses_cannot_pass_for_many_addresses(desk: Desk) -> None:
    server = HttpServer(desk.transport.app, "127.0.0.1", 0)
    server.start()
    try:
        answers = [
            httpx.post(
                f"{server.url}/login",
                data={"token": "guess"},
                headers={"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}"},
                timeout=60,
            ).status_code
            for n in range(11)
        ]
    finally:
        server.stop()
    assert answers == [403] * 10 + [429]


def test_who_guesses_keeps_nobody_out_who_signed_in_before(desk: Desk) -> None:
    right, wrong = {"token": "right"}, {"token": "guess"}
    entered = desk.call("POST", "/login", data=right)
    known = [
        text.partition(";")[0]
        for text in entered.headers.get_list("set-cookie")
        if text.startswith("barograph_browser_")
    ]
    forged = f"{known[0].partition('=')[0]}=a.b"
    made_up = [{"cookie": text} for text in (forged, f"{known[0]}0")]
    for headers in made_up * 5:
        assert desk.call("POST", "/login", data=wrong, headers=headers).status_code == 403
    for headers in ({}, *made_up):
        assert desk.call("POST", "/login", data=right, headers=headers).status_code == 429
    own = {"cookie": known[0]}
    assert desk.call("POST", "/login", data=right, headers=own).status_code == 303
    for status in [403] * 10 + [429]:
        assert desk.call("POST", "/login", data=wrong, headers=own).status_code == status


@pytest.mark.parametrize("claimed", [{}, {"submitted_by": "boss"}, {"submitted_by": 5}])
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/plans"])
def test_a_job_is_handed_in_under_its_tokens_name_alone(
    desk: Desk, path: str, claimed: dict[str, object]
) -> None:
    root = {"Authorization": "Bearer right"}
    asked = {"name": "S" * 200, "role": "submitter"}
    made = desk.call("POST", "/api/v1/tokens", json=asked, headers=root).json()
    job = {n: value for n, value in JOB.items() if n != "package" or not path.endswith("plans")}
    own = {"Authorization": f"Bearer {made['token']}"}
    assert desk.call("POST", path, json=job | claimed, headers=own).status_code == 202
    (sent,) = desk.sent
    assert getattr(sent, "job", sent).submitted_by == "S" * 128
    desk.sent.clear()
    if claimed.get("submitted_by") != 5:
        desk.call("POST", path, json=job | claimed | {"job_id": "other"}, headers=root)
        (sent,) = desk.sent
        assert getattr(sent, "job", sent).submitted_by == claimed.get("submitted_by", "")


NAMES = (".", "..", "%2e", "%2e%2e", "...", "!" * 20_000, "%C3%A9" * 9_000, "a%3fb", "a%23", "%00")


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:10])
@pytest.mark.parametrize("path", ["/silences/{}/end", "/channels/{}/test"])
def test_no_name_leads_to_another_door_of_the_healers(
    desk: Desk, peer: type[Peer], path: str, name: str
) -> None:
    headers, csrf = signed_in(desk)
    answer = desk.call("POST", path.format(name), data={"csrf": csrf}, headers=headers)
    assert answer.status_code in {303, 404, 405, 422}
    for method, asked, _ in peer.asked:
        assert (method, asked.count("/")) in {("DELETE", 4), ("POST", 5)}, asked
        assert not re.search(r"/\.{1,2}(/|$)|[?#]", asked.removesuffix("?by=Ann"))


@pytest.mark.parametrize("field", ["hours", "window_hours"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e309", "1e305", "٣", "", "0x1"])
def test_any_number_in_the_form_of_a_silence_has_an_answer(
    desk: Desk, peer: type[Peer], field: str, number: str
) -> None:
    headers, csrf = signed_in(desk)
    form = {"csrf": csrf, "matchers": "host=a", "hours": "1", "window_hours": "1", "do": "make"}
    form |= {"rule": "FREQ=DAILY", "first": "2026-01-01T00:00", field: number}
    answer = desk.call("POST", "/silences/new", data=form, headers=headers)
    assert answer.status_code == 303
    ((_, _, sent),) = peer.asked
    assert sent["owner"] == "Ann"


@pytest.mark.parametrize("inside", ["\x85", "\u2028", "\x0b", "\x1d", "\x1e"])
def test_a_line_of_matchers_ends_where_the_form_ends_it(
    desk: Desk, peer: type[Peer], inside: str
) -> None:
    headers, csrf = signed_in(desk)
    matcher = f'item="a{inside}host=~.*{inside}b"'
    form = {"csrf": csrf, "matchers": f"{matcher}\r\nhost=a", "hours": "1", "do": "make"}
    desk.call("POST", "/silences/new", data=form, headers=headers)
    assert [sent["matchers"] for *_, sent in peer.asked] == [[matcher, "host=a"]]


@pytest.mark.parametrize("answer", [b"<html>a proxy's page</html>", b"", b"\xff", b"[" * 99_999])
def test_what_is_no_healer_is_said_to_be_none(desk: Desk, peer: type[Peer], answer: bytes) -> None:
    peer.answers = answer
    headers, _ = signed_in(desk)
    shown = desk.call("GET", "/channels", headers=headers)
    assert shown.status_code == 503
    assert "no healer" in shown.text
    assert "secret" not in shown.text


@pytest.mark.parametrize("answer", [b"<html>", b"", b"\xff", b"[" * 99_999, b"[]", b"{}", b"1"])
def test_what_is_no_healer_takes_no_page_of_a_machine_away(
    desk: Desk, peer: type[Peer], answer: bytes
) -> None:
    peer.answers = answer
    headers, csrf = signed_in(desk)
    fields = {"name": "h7", "score": 61.0, "verdict": "watch", "terms": (), "at": NOW}
    desk.hear(health_reported, HealthReported.model_validate(fields))
    for path in ("/machines", "/machines/h7"):
        shown = desk.call("GET", path, headers=headers)
        assert (shown.status_code, "the healer answers again" in shown.text) == (200, True)
    ended = desk.call("POST", "/silences/s1/end", data={"csrf": csrf}, headers=headers)
    assert ended.status_code == 303, "its event says what became of it"


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"refused": 1, "channels": null}', b"x", b"1"])
def test_a_healer_that_answers_otherwise_costs_no_job(
    desk: Desk, peer: type[Peer], answer: bytes
) -> None:
    peer.answers = answer
    job = JOB | {"notify": {"to": ["slack", "mail:ann@example.org", "slack"]}}
    token = {"Authorization": "Bearer right"}
    assert desk.call("POST", "/api/v1/jobs", json=job, headers=token).status_code == 202
    ((_, path, _),) = peer.asked
    assert path.partition("?")[2] == "to=slack&to=mail%3Aann%40example.org&to=slack"


def test_who_finds_others_waiting_for_a_turn_hears_at_once_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_MAX_WAIT_S", 60)
    served = turns.Turns(1)

    def wait() -> bool:
        with served.one():
            return True

    with ThreadPoolExecutor(2) as others:
        with served.one():
            waiting = [others.submit(wait) for _ in range(2)]
            eventually(lambda: served._here._value == 0, "the others wait")
            with pytest.raises(turns.TooManyError), served.one():
                pass
            assert not any(each.done() for each in waiting)
        assert all(each.result() for each in waiting)


def test_the_page_of_the_audit_log_asks_for_its_own_part_alone(
    desk: Desk, peer: type[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log grows for years, and somebody may turn to its first page."""

    def tell(one: Peer) -> None:
        one.asked.append((one.command, one.path, None))
        one.send_response(200)
        one.send_header("audit-number", "5000000")
        one.send_header("content-length", "0")
        one.end_headers()

    monkeypatch.setattr(peer, "do_GET", tell)
    headers, _ = signed_in(desk)
    for before, part in (("", "after=4999900&limit=100"), ("?before=31", "after=0&limit=30")):
        peer.asked.clear()
        assert desk.call("GET", f"/audit{before}", headers=headers).status_code == 200
        assert [path.partition("?")[2] for _, path, _ in peer.asked][1:] == [part]


def test_a_healer_that_hangs_takes_no_thread_that_others_need(
    desk: Desk, peer: type[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_MAX_WAIT_S", 0.01)
    peer.answers = b"[]"
    came, go_on = threading.Semaphore(0), threading.Event()

    def hang(one: Peer) -> None:
        came.release()
        go_on.wait(60)
        one._answer()

    monkeypatch.setattr(peer, "do_POST", hang)
    headers, csrf = signed_in(desk)

    def asked() -> int:
        form = {"csrf": csrf}
        return desk.call("POST", "/channels/mail/test", data=form, headers=headers).status_code

    with ThreadPoolExecutor(healer_api._AT_ONCE) as others:
        waiting = [others.submit(asked) for _ in range(healer_api._AT_ONCE)]
        for _ in waiting:
            assert came.acquire(timeout=60)
        assert asked() == 503
        assert desk.call("GET", "/alerts", headers=headers).status_code == 200
        go_on.set()
        assert {each.result() for each in waiting} == {303}
    assert asked() == 303
