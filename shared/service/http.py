"""An HTTP server beside a service's messaging, in a thread of its own."""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.service.traced_http import TracedRequests

HEAD_WITHIN_S = 10.0
"""A request's line and headers must have come by then, on new and on kept connections."""
_UNREAD_MS = 60_000
"""Who does not take what was sent for so long is gone; Linux counts a closed window, too."""


class PunctualProtocol(H11Protocol):
    """HTTP on one connection, which is closed when no request comes over it in time.

    uvicorn itself closes a connection that is silent after an answer, but none that never asks
    anything, asks byte by byte, or does not read its answer.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
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
    """The address in parts; one that is none names no host."""
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
        grace_s: seconds after which what is being answered is cut off at a stop; None
            waits for it.
    """

    def __init__(self, app: Any, host: str, port: int, grace_s: int | None = 3) -> None:
        self._socket = socket.create_server((host, port), backlog=256)
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

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being answered, then close."""
        self._server.should_exit = True
        self._thread.join(20.0)
        self._socket.close()

    def _run(self) -> None:
        self._server.run([self._socket])


def with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """A ``send`` that gives every answer these headers, where it has not set them itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = MutableHeaders(scope=message)
            for name, value in headers.items():
                given.setdefault(name, value)
        await send(message)

    return sending


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
