"""Sessions of people at the pages: they end, cannot be made up, and forms belong to one of them."""

from __future__ import annotations

import re

import pytest

from services.client.sessions import LASTS_S, Attempts, Sessions
from shared.contracts import IncidentAcknowledge
from shared.visible import visible
from tests.unit.client.alerts.events import ALERT, an_id, changed
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import Desk

NAME = "Ann\x1b[2J"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_and_is_of_one_token() -> None:
    clock = Clock()
    sessions = Sessions("right", clock)
    cookie = sessions.begin("Ann")
    session = sessions.read(cookie)
    assert session is not None
    assert session.name == "Ann"
    assert Sessions("other", clock).read(cookie) is None
    clock.now += LASTS_S
    assert sessions.read(cookie) is None


@pytest.mark.parametrize("change", [0, 5, -1])
def test_a_changed_cookie_is_no_session(change: int) -> None:
    sessions = Sessions("right")
    cookie = list(sessions.begin("Ann"))
    cookie[change] = "0" if cookie[change] != "0" else "1"
    assert sessions.read("".join(cookie)) is None


@pytest.mark.parametrize("cookie", ["", ".", "x", "é.é", "00.00"])
def test_what_is_no_cookie_is_no_session_and_without_a_token_there_is_none(cookie: str) -> None:
    assert Sessions("right").read(cookie) is None
    assert Sessions("").read(Sessions("").begin("Ann")) is None


def test_two_sessions_of_one_person_have_forms_of_their_own() -> None:
    sessions = Sessions("right")
    read = [sessions.read(sessions.begin("Ann")) for _ in range(2)]
    assert len({session.csrf for session in read if session is not None}) == 2


def test_who_fails_too_often_waits_and_nobody_else_does() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(10):
        assert not attempts.too_many("a")
        attempts.failed("a")
    assert attempts.too_many("a")
    assert not attempts.too_many("b")
    clock.now += 61
    assert not attempts.too_many("a")


def test_after_ten_wrong_tokens_the_right_one_waits_too() -> None:
    desk = Desk(api_token="right")
    for _ in range(10):
        assert desk.call("POST", "/login", data={"token": "guess"}).status_code == 403
    assert desk.call("POST", "/login", data={"token": "right"}).status_code == 429
    desk.store.close()


def _signed_in(desk: Desk) -> tuple[dict[str, str], str]:
    entered = desk.call("POST", "/login", data={"token": "right", "name": NAME})
    cookie = {"cookie": entered.headers["set-cookie"].partition(";")[0], "accept": "text/html"}
    page = desk.call("GET", "/silences/new", headers=cookie).text
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found
    return cookie, found[1]


@pytest.mark.parametrize(
    "others",
    [
        'grid={"sort": "name"}; ',
        "caf\u00e9=1; ",
        "a b=1; ",
        "alone; ",
        'open="quote; ',
        "list[0]=x; ",
        "path=/; ",
        ";;; ",
    ],
)
def test_cookies_of_other_programs_of_the_same_host_end_no_session(others: str) -> None:
    """A browser sends those of every port of a host, and JSON in one had ended the parser."""
    desk = Desk(api_token="right")
    cookie, _ = _signed_in(desk)
    sent = (others + cookie["cookie"]).encode("latin-1")
    for given in ([(b"cookie", sent)], [(b"cookie", b"a=1"), (b"cookie", sent)]):
        assert desk.call("GET", "/jobs", headers=given).status_code == 200
    desk.store.close()


def test_two_installations_of_one_host_keep_their_sessions_beside_each_other() -> None:
    desks = [Desk(api_token=token) for token in ("right", "other")]
    kept: dict[str, str] = {}  # a browser has one jar for all ports of a host
    for desk, token in zip(desks, ("right", "other"), strict=True):
        entered = desk.call("POST", "/login", data={"token": token, "name": "Ann"})
        given = (each.partition(";")[0] for each in entered.headers.get_list("set-cookie"))
        kept |= dict(each.split("=", 1) for each in given)
    jar = "; ".join(f"{name}={value}" for name, value in kept.items())
    for desk in desks:
        assert desk.call("GET", "/jobs", headers={"cookie": jar}).status_code == 200
        desk.store.close()


def test_chosen_alerts_are_acknowledged_in_the_name_of_who_signed_in() -> None:
    desk = Desk(api_token="right")
    ended = changed(1, "resolved", alert_id=an_id("ended"))
    hear(desk, changed(1, "firing"), changed(1, "firing", alert_id=an_id(2)), ended)
    cookie, csrf = _signed_in(desk)
    form = {"csrf": csrf, "alert": [ALERT, an_id(2), an_id("ended"), "none"], "back": "/alerts?a=b"}
    done = desk.call("POST", "/alerts/acknowledge", data=form, headers=cookie)
    assert (done.status_code, done.headers["location"]) == (303, "/alerts?a=b&said=acknowledge")
    assert desk.sent == [
        IncidentAcknowledge(alert_id=each, by=visible(NAME)) for each in (ALERT, an_id(2))
    ]
    desk.store.close()


def test_a_judgement_is_taken_back_on_the_incidents_page() -> None:
    desk = Desk(api_token="right")
    hear(desk, changed(1, "firing"))
    cookie, csrf = _signed_in(desk)
    form = {"csrf": csrf, "alert": ALERT, "back": "/alerts"}
    for given in ({}, {"anomaly": "yes"}):
        page = desk.call("GET", f"/alerts/{ALERT}", headers=cookie).text
        offered = 'formaction="/alerts/judge" name="anomaly" value="yes"' in page
        assert offered == bool(given), "there is something to take back only after it was said"
        done = desk.call("POST", "/alerts/judge", data=form | given, headers=cookie)
        assert done.status_code == 303
    assert [(m.anomaly, m.by) for m in desk.sent] == [(False, visible(NAME)), (True, visible(NAME))]
    assert "restores its limit" in desk.call("GET", done.headers["location"], headers=cookie).text
    desk.store.close()


@pytest.mark.parametrize(
    "way", ["//evil.example", "https://evil.example", "/\\evil", "/a\r\nb", ""]
)
def test_no_form_leads_to_another_site(way: str) -> None:
    desk = Desk(api_token="right")
    hear(desk, changed(1, "firing"))
    cookie, csrf = _signed_in(desk)
    form = {"csrf": csrf, "alert": ALERT, "back": way}
    done = desk.call("POST", "/alerts/acknowledge", data=form, headers=cookie)
    assert done.headers["location"] == "/alerts?said=acknowledge"
    desk.store.close()


@pytest.mark.parametrize("form", [{}, {"csrf": "0" * 64}, {"csrf": "é"}])
@pytest.mark.parametrize("path", ["/alerts/acknowledge", "/alerts/judge", "/logout"])
def test_a_form_without_the_sessions_own_token_changes_nothing(
    path: str, form: dict[str, str]
) -> None:
    desk = Desk(api_token="right")
    hear(desk, changed(1, "firing"))
    cookie, _ = _signed_in(desk)
    token = {"Authorization": "Bearer right"}
    for headers in (cookie, token):
        answer = desk.call("POST", path, data=form | {"alert": ALERT}, headers=headers)
        assert answer.status_code == 403
    assert desk.sent == []
    desk.store.close()
