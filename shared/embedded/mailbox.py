"""A local mailbox: an SMTP server with a login that delivers into a Maildir."""

from __future__ import annotations

import asyncio
import email.message
import email.policy
import hmac
import logging
import secrets
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from shared.embedded.files import own_directory
from shared.embedded.ports import Chosen, any_free
from shared.embedded.process import LOOPBACK, EmbeddedError

_MAX_BYTES = 20_000_000


class SmtpServer(Controller):
    """aiosmtpd's server thread; its own stop leaves open connections to the collector."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._sessions: weakref.WeakSet[SMTP] = weakref.WeakSet()
        super().__init__(*args, **options)

    def factory(self) -> SMTP:
        session: SMTP = super().factory()  # type: ignore[no-untyped-call] # aiosmtpd has no types
        self._sessions.add(session)
        return session

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result()
        super().stop(no_assert)

    async def _hang_up(self) -> None:
        for session in list(self._sessions):
            if session.transport is not None:
                session.transport.close()
        # The sockets are closed in the loop's next round.
        await asyncio.sleep(0)


class _LoginFirst(Mailbox):
    """Delivers mails of authenticated senders into a Maildir.

    Not aiosmtpd's ``auth_required``: without TLS that warns at every connection, and where
    warnings are errors it leaves the connection open, with nobody to answer it.
    """

    _seen: set[str] | None = None

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return "250 OK"

    def handle_message(self, message: email.message.Message) -> None:
        """A mail that comes again (same Message-ID) is delivered once, as on most servers."""
        name = str(message["Message-ID"] or "")
        if not name or name not in self._known():
            super().handle_message(message)
            self._known().add(name)

    def _known(self) -> set[str]:
        if self._seen is None:
            self._seen = {str(mail["Message-ID"]) for mail in self.mailbox}
        return self._seen


@dataclass
class EmbeddedMailbox:
    """A mail server that delivers every mail into ``state/Maildir``."""

    state: Path
    user: str = "barograph"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    choose: Chosen = any_free
    """Gives the port."""
    port: int = field(init=False)
    _controller: Controller | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Before it is started: services start beside it, and are given its address.
        self.port = self.choose("mailbox", ["smtp"], 0)["smtp"]

    @property
    def url(self) -> str:
        """``smtp://user:password@host:port``, for the healer's settings."""
        return f"smtp://{self.user}:{self.password}@{LOOPBACK}:{self.port}"

    @property
    def directory(self) -> Path:
        return self.state / "Maildir"

    def start(self) -> None:
        """Listen on loopback; EmbeddedError when the port is taken."""
        own_directory(self.state)
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self._controller = SmtpServer(
            _LoginFirst(self.directory),
            hostname=LOOPBACK,
            port=self.port,
            # Loopback only; a relay elsewhere is reached with TLS.
            auth_require_tls=False,
            authenticator=self._check,
            data_size_limit=_MAX_BYTES,
        )
        try:
            self._controller.start()
        except OSError as error:
            raise EmbeddedError(
                f"the mailbox cannot listen on port {self.port}: {error}"
            ) from error

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def messages(self) -> list[email.message.EmailMessage]:
        """Everything delivered so far, oldest first."""
        if not self.directory.exists():
            return []
        paths = sorted(self.directory.glob("new/*"), key=lambda path: path.stat().st_mtime_ns)
        parse = email.message_from_bytes
        return [parse(path.read_bytes(), policy=email.policy.default) for path in paths]

    def _check(
        self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        known = (
            mechanism in {"LOGIN", "PLAIN"}
            and isinstance(data, LoginPassword)
            and hmac.compare_digest(data.login, self.user.encode())
            and hmac.compare_digest(data.password, self.password.encode())
        )
        return AuthResult(success=known, handled=False)
