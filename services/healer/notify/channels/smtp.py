"""The doorway to SMTP: one message, one session, two kinds of failure."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailUnavailable(Exception):
    """The server cannot be reached or says 'later'."""


class MailRefused(Exception):
    """The server will not take this mail, now or later."""


def check_url(url: str) -> str:
    """What is wrong with a mail URL, '' for nothing."""
    try:
        place = urlsplit(url)
        _ = place.port  # a port that is no number is told only when it is asked for
    except ValueError as error:
        return str(error)
    usable = place.scheme in _PORTS and place.hostname
    return "" if usable else f"must be {', '.join(f'{s}://host' for s in _PORTS)}"


def send(url: str, message: EmailMessage, timeout_s: float = 20) -> None:
    """Hand ``message`` to the server at ``url``; returns when it has taken it for every recipient.

    Args:
        url: ``smtp://host:port``, ``smtp+starttls://user:password@host``, ``smtps://…``.
        message: with From and To.
        timeout_s: for each step of the session.

    Raises:
        MailUnavailable: no connection, a temporary (4xx) answer, or something the operator can
            mend (a wrong password, no TLS): try later.
        MailRefused: a permanent (5xx) answer to this mail.
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
        raise MailUnavailable(f"the server's certificate is not valid: {error.reason}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise MailUnavailable(f"{place.hostname}: {error}") from error


def _session(place: SplitResult, timeout_s: float) -> smtplib.SMTP:
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]
    if place.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=ssl.create_default_context())
    session = smtplib.SMTP(host, port, timeout=timeout_s)
    if place.scheme == "smtp+starttls":
        try:
            session.starttls(context=ssl.create_default_context())
        except BaseException:
            session.close()
            raise
    return session


def _hand_over(session: smtplib.SMTP, message: EmailMessage) -> None:
    """Some recipients may be refused while others are served; the mail has gone out then."""
    try:
        session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = max(error.recipients.values())
        raise _by_code(code, text) from error


def _by_code(code: int, text: bytes | str) -> MailUnavailable | MailRefused:
    shown = text.decode(errors="replace") if isinstance(text, bytes) else text
    if 400 <= code < 500:  # noqa: PLR2004 - SMTP's temporary answers
        return MailUnavailable(f"{code} {shown}")
    return MailRefused(f"{code} {shown}")
