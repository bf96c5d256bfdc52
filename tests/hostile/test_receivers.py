"""Whoever is told has bad manners: answers that never end, move, ask to wait or mean anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from services.healer.notify.channels import (
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
    smtp,
)
from services.healer.notify.channels.http import post


@contextmanager
def answering(*parts: bytes, drip: bytes = b"") -> Iterator[str]:
    """A server that says ``parts`` to each connection, then ``drip`` again and again.

    It is deaf to what it is told, but takes it until the other side ends the connection: one that
    is closed before all was read is reset, and with it goes an answer on its way.
    """
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(60)
                    for part in parts:
                        connection.sendall(part)
                    while drip and not over.wait(0.05):
                        connection.sendall(drip)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def http(status: int, *headers: str, body: str = "no") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


@pytest.mark.parametrize("value", ["Bearer für uns", "a\r\nX-Other: b", "\x00", "Bearer \u202e"])
def test_a_header_that_cannot_be_sent_keeps_the_notice_and_shows_no_secret(value: str) -> None:
    with (
        answering(http(200)) as place,
        pytest.raises(ChannelUnavailable, match="'Authorization'") as told,
    ):
        post(SecretStr(f"http://{place}/"), {}, {"Authorization": value})
    assert value not in str(told.value)


@pytest.mark.parametrize(
    "parts",
    [(b"",), (b"HTTP/1.1 500 X\r\n",), (b"HTTP/1.1 500 X\r\nContent-Length: 99999\r\n\r\n",)],
)
def test_an_answer_that_drips_for_ever_ends_with_the_whole_requests_time(
    parts: tuple[bytes, ...],
) -> None:
    drip = b"x" if parts[0].endswith(b"\r\n\r\n") else b"X-Y: z\r\n"
    with (
        answering(*parts, drip=drip) as place,
        pytest.raises(ChannelUnavailable),
    ):
        post(SecretStr(f"http://{place}/"), {"a": 1}, {}, whole_s=0.5)


@pytest.mark.parametrize(
    "status", [301, 302, 307, 308, 401, 403, 404, 407, 410, 421, 429, 451, 503]
)
def test_what_an_operator_can_mend_waits(status: int) -> None:
    with (
        answering(http(status, "Location: http://127.0.0.1:1/")) as place,
        pytest.raises(ChannelUnavailable, match=str(status)),
    ):
        post(SecretStr(f"http://{place}/"), {}, {})


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_is_wrong_with_the_notice_itself_does_not(status: int) -> None:
    with (
        answering(http(status)) as place,
        pytest.raises(ChannelRefused, match=str(status)),
    ):
        post(SecretStr(f"http://{place}/"), {}, {})


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("60", 60, 60),
        ("1.5", 1.5, 1.5),
        (timedelta(hours=2), 7000, 7200),
        (timedelta(hours=-2), 0, 0),
        ("1e999", 86_400, 86_400),
        ("-5", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 86_400, 86_400),
        ("Mon, 01 Jan 2035 00:00:00 -0000", 86_400, 86_400),
    ],
)
def test_a_wish_to_wait_is_followed_in_each_of_its_forms(
    given: str | timedelta, least: float, most: float
) -> None:
    if isinstance(given, timedelta):
        given = format_datetime(datetime.now(UTC) + given, usegmt=True)
    with (
        answering(http(429, f"Retry-After: {given}")) as place,
        pytest.raises(ChannelUnavailable) as caught,
    ):
        post(SecretStr(f"http://{place}/"), {}, {})
    assert caught.value.after_s is not None
    assert least <= caught.value.after_s <= most


@pytest.mark.parametrize("given", ["soon", "Wed, 99 Foo", "nan", ""])
def test_a_wish_that_says_nothing_is_none(given: str) -> None:
    with (
        answering(http(503, f"Retry-After: {given}")) as place,
        pytest.raises(ChannelUnavailable) as caught,
    ):
        post(SecretStr(f"http://{place}/"), {}, {})
    assert caught.value.after_s is None


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:99999", "xn--a", "a..b", "\u202e", "[fe80::1%25lo]:1"],
)
def test_an_address_that_nobody_can_have_waits_until_it_is_mended(address: str) -> None:
    with pytest.raises(ChannelUnavailable):
        post(SecretStr(f"http://{address}/"), {}, {})


ODD = {
    "no protocol": b"hello",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a header beyond bounds": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000 + b"\r\n\r\n",
    "a header that is none": b"HTTP/1.1 200 OK\r\n\xff\xfe: x\r\n\r\n",
    "status 000": b"HTTP/1.1 000 X\r\n\r\n",
    "another protocol from here": b"HTTP/1.1 101 X\r\nupgrade: x\r\n\r\n",
    "a chunk that is none": b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("what", ODD)
def test_an_answer_that_is_none_costs_no_notice(what: str) -> None:
    with answering(ODD[what]) as place, pytest.raises(ChannelUnavailable):
        post(SecretStr(f"http://{place}/"), {}, {})


LATER = [
    (530, "Authentication required"),
    (550, "Mailbox quota exceeded"),
    (550, "5.7.1 relaying denied"),
    (552, "5.2.2 mailbox full"),
    (554, "5.7.1 blocked by policy"),
    (452, "4.2.2 over quota"),
    (421, "try later"),
]
NEVER = [
    (550, "no such user"),
    (550, "5.1.1 user unknown"),
    (552, "5.3.4 message too big"),
    (554, "5.6.0 bad content"),
]


@pytest.mark.parametrize(("code", "text"), LATER)
def test_a_mail_that_an_operator_can_make_possible_waits(code: int, text: str) -> None:
    assert isinstance(smtp._by_code(code, text), smtp.MailUnavailable)


@pytest.mark.parametrize(("code", "text"), NEVER)
def test_a_mail_that_is_wrong_itself_does_not(code: int, text: str) -> None:
    assert isinstance(smtp._by_code(code, text), smtp.MailRefused)


LARGE = [
    (552, "5.3.4 Message size exceeds fixed limit"),
    (552, "5.2.3 Your message exceeded Google's message size limits"),
    (552, "Message exceeds fixed maximum message size"),
    (552, "message size exceeds fixed maximum message size"),
    (554, "Message too large"),
    (550, "Error reading data, max message size exceeded"),
    (523, "the message size is greater than the recipient's limit"),
]


@pytest.mark.parametrize(("code", "text"), LARGE)
def test_a_mail_that_is_too_large_is_known_by_code_or_words(code: int, text: str) -> None:
    assert isinstance(smtp._by_code(code, text), smtp.MailTooLarge)


@pytest.mark.parametrize(("code", "text"), [*LATER, (550, "no such user"), (451, "4.7.1 greylist")])
def test_what_is_not_about_the_size_is_not_sent_shorter(code: int, text: str) -> None:
    assert not isinstance(smtp._by_code(code, text), smtp.MailTooLarge)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, "no"),
        (400, '{"errors": ["Event is too large"]}'),
        (400, "content: Must be 2000 or fewer in length."),
        (400, "msg_too_long"),
        (422, "exceeds the maximum size"),
    ],
)
def test_a_request_that_is_too_large_is_known_by_status_or_words(status: int, body: str) -> None:
    with answering(http(status, body=body)) as place, pytest.raises(ChannelTooLarge):
        post(SecretStr(f"http://{place}/"), {}, {})


def test_a_mail_server_is_greeted_by_the_name_that_it_is_to_know() -> None:
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"220 hello\r\n")
            heard.append(connection.recv(1000))
            connection.sendall(b"504 5.5.2 need a name\r\n")
            heard.append(connection.recv(1000))
            connection.sendall(b"504 5.5.2 need a name\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    letter = EmailMessage()
    letter["From"], letter["To"] = "a@example.org", "b@example.org"
    place = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(smtp.MailUnavailable):
        smtp.send(f"smtp://{place}?hello=monitor.example.org", letter)
    thread.join()
    server.close()
    assert heard[0] == b"ehlo monitor.example.org\r\n"
    assert "hello" in smtp.check_url("smtp://host?helo=x")
    assert smtp.check_url("smtp://host?hello=x") == ""


@pytest.mark.parametrize("parts", [(), (b"220 hello\r\n",)])
def test_a_mail_server_that_drips_for_ever_is_cut_off(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "SESSION_S", 0.5)
    letter = EmailMessage()
    letter["From"], letter["To"] = "a@example.org", "b@example.org"
    letter.set_content("x")
    with answering(*parts, drip=b"2") as place, pytest.raises(smtp.MailUnavailable):
        smtp.send(f"smtp://{place}", letter)


@pytest.mark.parametrize(
    "login", ["barograph:p%C3%A4ssword", "b%C3%BCro:secret", "a:%E5%AF%86%E7%A0%81"]
)
def test_a_login_that_is_not_ascii_waits_for_who_can_mend_it_and_is_not_told(login: str) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"] = "a@example.org", "b@example.org"
    letter.set_content("x")
    parts = (b"220 hello\r\n", b"250-hello\r\n250 AUTH PLAIN LOGIN\r\n", b"221 bye\r\n")
    with answering(*parts) as place, pytest.raises(smtp.MailUnavailable) as told:
        smtp.send(f"smtp://{login}@{place}", letter)
    assert "ASCII" in str(told.value)
    assert "ssword" not in str(told.value)


@pytest.mark.parametrize("host", ["x" * 70 + ".example", "a..example", "\u00df" * 64])
def test_a_mail_server_whose_name_is_none_waits(host: str) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"] = "a@example.org", "b@example.org"
    letter.set_content("x")
    with pytest.raises(smtp.MailUnavailable):
        smtp.send(f"smtp://{host}:1", letter)


@pytest.mark.parametrize(
    "parts",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"220\r\n", b"\xff\xfe\r\n"),
        (b"554 no service\r\n",),
        (b"220 " + b"x" * 9000 + b"\r\n",),
        (b"220 hello\r\n", b"250 hello\r\n", b"250 ok\r\n", b"", b"421 too busy\r\n"),
    ],
)
def test_whatever_answers_instead_of_a_mail_server_the_mail_waits(
    parts: tuple[bytes, ...],
) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"] = "a@example.org", "b@example.org"
    letter.set_content("x")
    with answering(*parts) as place, pytest.raises(smtp.MailUnavailable):
        smtp.send(f"smtp://{place}", letter, timeout_s=2)
