"""SMTP for the mail channel: one message per session, and two kinds of failure."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

SESSION_S = 120.0
"""The time limit of a whole session in seconds, however slowly the server answers."""
_ENHANCED = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_MENDABLE = re.compile(
    r"quota|full|storage|relay|auth|login|denied|policy|block|spam|limit|rate|reputation",
    re.IGNORECASE,
)
_SIZE = re.compile(r"message (is )?(too|size)|size (limit|exceeds)|too (large|big)", re.IGNORECASE)
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailUnavailable(Exception):
    """The server cannot be reached or says 'later'."""


class MailRefused(Exception):
    """The server will never accept this mail."""


class MailTooLarge(MailRefused):
    """The server does not accept this mail because of its size."""


def check_url(url: str) -> str:
    """The fault of a mail URL, '' for none."""
    try:
        place = urlsplit(url)
        _ = place.port  # a port that is no number raises only when it is asked for
    except ValueError as error:
        return str(error)
    usable = place.scheme in _PORTS and place.hostname
    if parse_qs(place.query).keys() - {"hello"}:
        return "the only parameter is hello, as in smtp://host?hello=monitor.example.org"
    return "" if usable else f"must be {', '.join(f'{s}://host' for s in _PORTS)}"


def send(url: str, message: EmailMessage, timeout_s: float = 20) -> None:
    """Hand ``message`` to the server at ``url``; returns when it has taken it for every recipient.

    Args:
        url: ``smtp://host:port``, ``smtp+starttls://user:password@host``, ``smtps://…``; with
            ``?hello=NAME`` where the server does not take the machine's own name.
        message: with From and To.
        timeout_s: for each step of the session; the whole has ``SESSION_S``.

    Raises:
        MailUnavailable: no connection, a temporary (4xx) answer, or something the operator can
            mend (a wrong password, no TLS, a full mailbox): try later.
        MailRefused: a permanent (5xx) answer about this mail or its address.
        ValueError: when ``check_url`` would name a fault.
    """
    fault = check_url(url)
    if fault:
        raise ValueError(fault)
    place = urlsplit(url)
    try:
        with _session(place, timeout_s) as session:
            if place.username:
                session.login(unquote(place.username), unquote(place.password or ""))
            _hand_over(session, message)
    except smtplib.SMTPAuthenticationError as error:
        raise MailUnavailable(f"{place.hostname} does not accept the login") from error
    except smtplib.SMTPResponseException as error:
        raise _by_code(error.smtp_code, error.smtp_error) from error
    except ssl.SSLCertVerificationError as error:
        problem = f"its certificate is not valid: {error.verify_message}"
        raise MailUnavailable(f"{place.hostname}: {problem}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise MailUnavailable(f"{place.hostname}: {error}") from error
    except UnicodeError as error:
        # An operator can mend it; and its own words might show a part of the password.
        problem = "the login or the server's name cannot be written in ASCII, as SMTP wants it"
        raise MailUnavailable(f"{place.hostname}: {problem}") from error


class _Deadline:
    """Cuts a session's connection when the session takes too long as a whole."""

    sock: socket.socket | None
    _timer: threading.Timer | None = None

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self._timer = threading.Timer(SESSION_S, self._cut)
        self._timer.daemon = True
        self._timer.start()
        try:
            answer: tuple[int, bytes] = super().connect(*args, **kwargs)  # type: ignore[misc] # of smtplib's session, which it is mixed into
        except BaseException:
            # Nobody closes a session that never was, and each timer is a thread.
            self._timer.cancel()
            raise
        return answer

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().close()  # type: ignore[misc] # of smtplib's session, which it is mixed into

    def _cut(self) -> None:
        if self.sock is not None:
            try:
                # Unlike close(), this also wakes the thread that waits for an answer.
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself


class _Bounded(_Deadline, smtplib.SMTP):
    """A session without TLS from the start."""


class _BoundedTls(_Deadline, smtplib.SMTP_SSL):
    """A session with TLS from the start."""


def _session(place: SplitResult, timeout_s: float) -> smtplib.SMTP:
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]
    (hello,) = parse_qs(place.query).get("hello", [None])[:1]
    if place.scheme == "smtps":
        context = ssl.create_default_context()
        return _BoundedTls(host, port, hello, timeout=timeout_s, context=context)
    session = _Bounded(host, port, hello, timeout=timeout_s)
    if place.scheme == "smtp+starttls":
        try:
            session.starttls(context=ssl.create_default_context())
        except BaseException:
            session.close()
            raise
    return session


def _hand_over(session: smtplib.SMTP, message: EmailMessage) -> None:
    """Send the mail; if only some recipients are refused, it counts as sent."""
    try:
        session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = max(error.recipients.values())
        raise _by_code(code, text) from error


def _by_code(code: int, text: bytes | str) -> MailUnavailable | MailRefused:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    if _too_large(code, shown):
        return MailTooLarge(f"{code} {shown}")
    kind = MailRefused if _never(code, shown) else MailUnavailable
    return kind(f"{code} {shown}")


def _too_large(code: int, text: str) -> bool:
    """Return whether the answer is about the mail's size: 5.3.4, 5.2.3 or in words only."""
    enhanced = _ENHANCED.match(text)
    if enhanced:
        return enhanced[1] == "5" and (enhanced[2], enhanced[3]) in {("3", "4"), ("2", "3")}
    return code in {523, 550, 552, 554} and _SIZE.search(text) is not None


def _never(code: int, text: str) -> bool:
    """Return whether the answer is about this mail or this address, and so no operator can mend it.

    Enhanced status codes (RFC 3463) say so: x.1.x is about the address, x.6.x about the content.
    Without one, a server that does not take the mailbox (550,
    551, 553) means the address unless it speaks of quotas, logins or policies.
    """
    enhanced = _ENHANCED.match(text)
    if enhanced:
        return enhanced[1] == "5" and enhanced[2] in {"1", "6"}
    return code in {550, 551, 553} and _MENDABLE.search(text) is None
