"""An HTTP server in a thread of its own, next to a service's messaging."""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import structlog
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.service.traced_http import TracedRequests

log = structlog.get_logger(__name__)

HEAD_WITHIN_S = 10.0
"""The time limit for a request's line and headers, on new and kept-alive connections."""
_UNREAD_MS = 60_000
"""A peer that acknowledges nothing for this time is gone; a closed window counts, too."""


class PunctualProtocol(H11Protocol):
    """HTTP on one connection, which is closed when no request comes over it in time.

    uvicorn itself closes a connection that is silent after an answer, but none that never asks
    anything, asks byte by byte, or does not read its answer.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn gives no other transport
        super().connection_made(transport)
        opened = transport.get_extra_info("socket")
        if opened is not None and opened.family in {socket.AF_INET, socket.AF_INET6}:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        if self._is_answering():
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._give_up)

    def _is_answering(self) -> bool:
        return bool(self.cycle) and not self.cycle.response_complete  # none before the first

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_answering():
            self.transport.close()


def parts_of(address: str) -> SplitResult:
    """The parts of an address; an invalid one has no host."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class HttpServer:
    """Serves an ASGI application.

    The port is bound when this is made, so that one taken by another is an error at start.

    Args:
        app: the application.
        host: address to listen on.
        port: 0 for any free one.
        grace_s: seconds after which what is being answered is cut off at a stop, by default
            longer than a page waits for other services' answers; None waits for it.
    """

    def __init__(self, app: Any, host: str, port: int, grace_s: int | None = 5) -> None:
        self._socket = socket.create_server((host, port), backlog=256)
        # Head and body of an answer are written apart: without this, which connections inherit and
        # asyncio leaves out for such a socket, the body waits 40 ms for the caller's delayed ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            TracedRequests(app),
            http=PunctualProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            # Whoever asks may write X-Forwarded-For: callers are distinguished by their connection.
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=grace_s,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._stopped = False

    @property
    def url(self) -> str:
        """The port on which it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def wrong(self) -> str:
        """Return why the started server does not answer; empty if it does."""
        ended = self._thread.ident is not None and not self._thread.is_alive()
        return "its thread has ended" if ended and not self._stopped else ""

    def stop(self) -> None:
        """Finish the requests in progress, then close."""
        self._stopped = self._server.should_exit = True
        if self._thread.ident is not None:  # it was started
            self._thread.join(20.0)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run([self._socket])
        except Exception:
            # Messages are still handled; ``/livez`` reports that requests are not.
            log.exception("http_failed")


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """A ``send`` that gives every answer these headers, where it has not set them itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = MutableHeaders(scope=message)
            for name, value in headers.items():
                given.setdefault(name, value)
        await send(message)

    return sending


def no_valid_token(variable: str) -> str:
    """The refusal of a request without a valid token; ``variable`` is where commands read it."""
    return (
        "no valid token is presented (Authorization: Bearer TOKEN): it is missing, wrong, expired "
        f"or revoked; commands take it from {variable}"
    )


def presented(authorization: str) -> str:
    """The token of a request's ``Authorization``: a bearer token, or a password of any user.

    Many senders know of users and passwords only.
    """
    scheme, _, given = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def same(given: str, token: str) -> bool:
    """Compare a secret in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())
