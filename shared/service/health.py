"""``/livez``, ``/readyz`` and ``/metrics`` over HTTP."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], dict[str, str]]
"""Returns the problems by name; empty if there are none."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log no traceback for a probe that did not wait for its answer, as on a busy machine."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HealthServer:
    """Answers probes and scrapes until stopped."""

    def __init__(self, host: str, port: int, live: Check, ready: Check) -> None:
        checks = {"/livez": live, "/readyz": ready}

        class _Handler(BaseHTTPRequestHandler):
            timeout = (
                10.0  # seconds; each connection has a thread, which a silent one must not keep
            )

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                if path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
                elif path in checks:
                    wrong = checks[path]()
                    body = json.dumps({"ok": not wrong, "wrong": wrong}).encode()
                    self._answer(503 if wrong else 200, "application/json", body)
                else:
                    self._answer(404, "text/plain", b"not found\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
                """Log nothing, because probes are frequent."""

        self._server = _Server((host, port), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            daemon=True,
            name="health",
        )

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
