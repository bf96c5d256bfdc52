"""An HTTP server beside a service's messaging, in a thread of its own."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Mapping
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send


class HttpServer:
    """Serves an ASGI application.

    The port is bound when this is made, so that one taken by another is an error at start.

    Args:
        app: the application.
        host: address to listen on.
        port: 0 for any free one.
        grace_s: seconds after which what is being answered is cut off when told to stop; None
            waits for it.
    """

    def __init__(self, app: Any, host: str, port: int, grace_s: int | None = 3) -> None:
        self._socket = socket.create_server((host, port), backlog=256)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
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


def same(given: str, token: str) -> bool:
    """Compare a secret in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())
