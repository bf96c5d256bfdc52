"""A program that looks like a service to the supervisor; ends when its file tells it to."""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


if os.environ.get("TINY_FAILS"):
    sys.exit("no such disk")
HTTPServer(("127.0.0.1", int(os.environ["BAROGRAPH_HEALTH_PORT"])), Ready).serve_forever()
