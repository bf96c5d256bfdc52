"""The doorway to SMTP: one message, one session, two kinds of failure."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


class MailUnavailable(Exception):  # noqa: N818 - a state, not a fault of ours
    """The server cannot be reached or says 'later'."""


class MailRefused(Exception):  # noqa: N818 - likewise
    """The server will not take this mail, now or later."""


def send(url: str, message: EmailMessage, timeout_s: float = 20) -> None:
    """Hand ``message`` to the server at ``url``; returns when it has taken it for every recipient.

    Args:
        url: ``smtp://host:port``, ``smtp+starttls://user:password@host``, ``smtps://…``.
        message: with From and To.
        timeout_s: for each step of the session.

    Raises:
        MailUnavailable: no connection, or a temporary (4xx) answer: try later.
        MailRefused: a permanent (5xx) answer, or a URL that cannot work.
    """
    place = urlsplit(url)
    if place.scheme not in _PORTS or not place.hostname:
        raise MailRefused(f"not a mail URL: it must begin with {', '.join(_PORTS)}")
    try:
        with _session(place, timeout_s) as session:
            if place.username:
                session.login(unquote(place.username), unquote(place.password or ""))
            _hand_over(session, message)
    except smtplib.SMTPResponseException as error:
        raise _by_code(error.smtp_code, error.smtp_error) from error
    except smtplib.SMTPNotSupportedError as error:
        raise MailRefused(str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise MailUnavailable(f"the server's certificate is not valid: {error.reason}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise MailUnavailable(f"{place.hostname}: {error}") from error


def _session(place: SplitResult, timeout_s: float) -> smtplib.SMTP:
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]
    if place.scheme == "smtps":
        return smtplib.SMTP_SSL(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )
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
