"""The mail page and the login, without servers."""

from __future__ import annotations

import mailbox
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.client.test_api import Desk

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
TOKEN = "opensesame"
HOSTILE = "<script>alert(1)</script>"


def letter(subject: str) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["To"] = subject, "oncall@example.org"
    mail.set_content(f"text {HOSTILE}")
    mail.add_alternative(f"<p>{HOSTILE}</p>", subtype="html")
    mail.get_payload(1).add_related(PNG, "image", "png", cid="<plot>")
    return mail


class Reader(Desk):
    """A desk with a mailbox, asked by somebody who has the token."""

    def __init__(self, box: mailbox.Maildir) -> None:
        super().__init__(maildir=box._path, api_token=TOKEN)

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return super().call(method, path, headers={"authorization": f"Bearer {TOKEN}"}, **options)


@pytest.fixture
def box(tmp_path: Path) -> mailbox.Maildir:
    return mailbox.Maildir(tmp_path / "Maildir")


def test_mails_are_listed_newest_first_with_their_picture(box: mailbox.Maildir) -> None:
    for subject in ("one", "two"):
        box.add(letter(subject))
    desk = Reader(box)

    found = desk.call("GET", "/api/v1/mail").json()
    assert [mail["subject"] for mail in found] == ["two", "one"]
    picture = desk.call("GET", f"/api/v1/mail/{found[0]['key']}/{found[0]['picture']}")
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")


def test_nothing_of_a_mail_runs_in_the_page(box: mailbox.Maildir) -> None:
    box.add(letter(HOSTILE))
    desk = Reader(box)

    page = desk.call("GET", "/mail")
    assert page.status_code == 200
    assert HOSTILE not in page.text
    assert "&lt;script&gt;" in page.text
    (mail,) = desk.call("GET", "/api/v1/mail").json()
    parts = [desk.call("GET", f"/api/v1/mail/{mail['key']}/{n}").status_code for n in range(6)]
    assert parts.count(200) == 1, "only the picture is served as it came"


def test_a_mails_links_can_be_followed_from_the_page_and_only_links(box: mailbox.Maildir) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["To"] = "alarm", "oncall@example.org"
    mail.set_content('Approve: http://127.0.0.1:8081/links/WyJ.x-y_z\n"><b>\njavascript:alert(1)\n')
    box.add(mail)
    text = Reader(box).call("GET", "/mail").text
    assert 'href="http://127.0.0.1:8081/links/WyJ.x-y_z"' in text
    assert 'rel="nofollow noopener noreferrer"' in text
    assert "<b>" not in text
    assert "javascript:" not in "".join(re.findall(r'href="[^"]*"', text))


def test_without_mailbox_or_mail_the_answer_says_so(box: mailbox.Maildir) -> None:
    assert Desk().call("GET", "/api/v1/mail").status_code == 404
    desk = Reader(box)
    assert "No mail yet" in desk.call("GET", "/mail").text
    assert desk.call("GET", "/api/v1/mail/..%2F..%2Fpasswd/0").status_code == 404
    assert desk.call("GET", "/api/v1/mail/unknown/0").status_code == 404


@pytest.mark.parametrize("path", ["/mail", "/api/v1/mail", "/api/v1/mail/key/1"])
def test_mails_are_shown_to_nobody_without_a_token(box: mailbox.Maildir, path: str) -> None:
    box.add(letter("approve this"))

    assert Desk(maildir=box._path).call("GET", path).status_code == 403
    assert Desk(maildir=box._path, api_token=TOKEN).call("GET", path).status_code == 401


def test_a_browser_is_led_to_the_login_and_stays_logged_in() -> None:
    desk = Desk(api_token="opensesame")
    asked = desk.call("GET", "/", headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login")
    assert desk.call("GET", "/login").status_code == 200

    wrong = desk.call("POST", "/login", data={"token": "guess"})
    assert wrong.status_code == 403
    assert "set-cookie" not in wrong.headers

    right = desk.call("POST", "/login", data={"token": "opensesame"})
    cookie = right.headers["set-cookie"]
    assert right.status_code == 303
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    inside = desk.call("GET", "/", headers={"cookie": cookie.partition(";")[0]})
    assert inside.status_code == 200


def test_an_empty_token_lets_nobody_log_in() -> None:
    assert Desk().call("POST", "/login", data={"token": ""}).status_code == 403
