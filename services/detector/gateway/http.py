"""``POST /api/v1/write``: Prometheus remote write 1.0.

204 only after the broker has confirmed every sample. 400 and the faults for what must never be
sent again as it is; 413 and 415 likewise; 429 with Retry-After under back-pressure; 503 with
Retry-After while the broker does not answer (Prometheus sends those again).
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import threading
from collections.abc import Callable

import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from services.detector.gateway.ingest import InFlight, Ingest
from services.detector.gateway.remote_write import Received, Receiver, decompress
from services.detector.settings import Settings
from shared.messaging import MessagingError
from shared.observe import SAMPLES
from shared.samples import InvalidBatch

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = "2"
_BODY_TIMEOUT_S = 10


class _RefusedError(Exception):
    """The request is answered with this status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text

    def response(self) -> Response:
        again = {"Retry-After": _RETRY_AFTER_S} if self.status in (429, 503) else {}
        return Response(self.text + "\n", self.status, again, "text/plain")


class _Intake:
    """From a body to samples in the streams; one for all requests."""

    def __init__(self, settings: Settings, ingest: Ingest) -> None:
        self._raw_bytes = settings.gateway_raw_bytes
        self._ingest = ingest
        self._receiver = Receiver(settings.gateway_ignore)
        # The receiver's memory of series is not made for several threads at once.
        self._reading = threading.Lock()

    def take(self, body: bytes) -> None:
        """Return when the broker has every sample; raises _RefusedError otherwise."""
        try:
            data = decompress(body, self._raw_bytes)
            with self._reading:
                received = self._receiver.read(data)
            _check_clock(self._ingest, received)
            self._ingest.publish([received.batch])
        except InvalidBatch as error:
            SAMPLES.labels("refused").inc()
            raise _RefusedError(400, str(error)) from error
        except MessagingError as error:
            raise _RefusedError(503, f"the broker did not confirm: {error}") from error
        SAMPLES.labels("received").inc(len(received.batch))
        if received.faults:
            raise _RefusedError(400, "; ".join(received.faults))


def make_app(settings: Settings, ingest: Ingest) -> FastAPI:
    """The gateway as an application; one route."""
    app = FastAPI(title="Barograph gateway", docs_url=None, redoc_url=None)
    intake = _Intake(settings, ingest)
    in_flight = InFlight(settings.gateway_in_flight)
    token = settings.gateway_token.get_secret_value()

    @app.post("/api/v1/write", status_code=204, response_class=Response)
    async def write(request: Request) -> Response:
        """Take samples from Prometheus (remote write 1.0, snappy block format)."""
        if not in_flight.enter():
            return _RefusedError(429, "too many requests at once").response()
        try:
            _check_headers(request, token)
            body = await _body(request, settings.gateway_body_bytes)
            await run_in_threadpool(intake.take, body)
        except _RefusedError as refused:
            log.warning("write_refused", status=refused.status, reason=refused.text[:500])
            return refused.response()
        finally:
            in_flight.leave()
        return Response(status_code=204)

    return app


def _check_clock(ingest: Ingest, received: Received) -> None:
    ahead = ingest.too_new(received.batch)
    if ahead:
        raise InvalidBatch([*received.faults, *ahead])


def _check_headers(request: Request, token: str) -> None:
    headers = request.headers
    given = headers.get("authorization", "").removeprefix("Bearer ")
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        raise _RefusedError(401, "a bearer token is needed")
    kind, _, rest = headers.get("content-type", "").partition(";")
    if kind.strip() != "application/x-protobuf":
        raise _RefusedError(415, "Content-Type must be application/x-protobuf")
    if "proto=" in rest and "prometheus.WriteRequest" not in rest:
        raise _RefusedError(
            415, "only proto=prometheus.WriteRequest (remote write 1.0) is understood"
        )
    if headers.get("content-encoding", "") != "snappy":
        raise _RefusedError(415, "Content-Encoding must be snappy")
    version = headers.get("x-prometheus-remote-write-version", "0.1.0")
    if not version.startswith("0.1."):
        raise _RefusedError(415, f"remote write version {version[:20]!r} is not 0.1.x")


async def _body(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _RefusedError(413, f"{declared} bytes, more than {most}")
    body = bytearray()
    try:
        # Who sends slowly must not keep a place from others.
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise _RefusedError(413, f"more than {most} bytes")
    except TimeoutError:
        raise _RefusedError(408, f"the body did not come within {_BODY_TIMEOUT_S} s") from None
    return bytes(body)


class Gateway:
    """The HTTP server, in a thread of its own."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        # Bound here, so that a port taken by another is an error at start and not a log line.
        self._socket = socket.create_server((host, port), backlog=256)
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        run: Callable[[], None] = lambda: self._server.run([self._socket])  # noqa: E731
        self._thread = threading.Thread(target=run, name="gateway", daemon=True)

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
