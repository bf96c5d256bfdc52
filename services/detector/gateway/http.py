"""``POST /api/v1/write``: Prometheus remote write 1.0 and 2.0; ``POST /v1/metrics``: OTLP.

204 only after the broker has confirmed every sample. 400, with the faults, for what must not be
retried, after the good samples of the request are written; 413 and 415 likewise, for whole
requests. 429 with Retry-After under back-pressure. 503 with Retry-After, at once, while the broker
is unavailable or accepts nothing, and when it does not confirm; Prometheus retries these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from fastapi import FastAPI, Request, Response

from services.detector.gateway import otlp_http
from services.detector.gateway.ingest import InFlight, Ingest
from services.detector.gateway.intake import Intake
from services.detector.gateway.otlp import Otlp
from services.detector.gateway.remote_write import Message, Received
from services.detector.gateway.senders import sender_name
from services.detector.settings import Settings
from shared.messaging import MessagingError
from shared.observe import SAMPLES
from shared.samples import InvalidBatch
from shared.service.http import presented, same

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = "2"
_BODY_TIMEOUT_S = 10
_PROTOBUF = "application/x-protobuf"


class _RefusedError(Exception):
    """The request is answered with this status and text."""

    def __init__(self, status: int, text: str, received: Received | None = None) -> None:
        super().__init__(text)
        self.status, self.text = status, text
        self.received = received or Received()


def make_app(settings: Settings, ingest: Ingest, away: Callable[[], str] = lambda: "") -> FastAPI:
    """The gateway as an application; one route. ``away`` says why nothing can be published now."""
    app = FastAPI(title="Barograph gateway", openapi_url=None)
    intake = Intake(settings, ingest, away)
    in_flight = InFlight(settings.gateway_in_flight)
    token = settings.gateway_token.get_secret_value()

    @app.post("/api/v1/write", status_code=204, response_class=Response)
    async def write(request: Request) -> Response:
        """Take samples from Prometheus (remote write 1.0 and 2.0; snappy or zstd)."""
        if not in_flight.enter():
            return _refuse(_RefusedError(429, "too many requests at once"), Message.V1)
        kind = Message.V1
        try:
            kind, encoding = _check_headers(request, token)
            _check_broker(away())
            body = await _body(request, settings.gateway_body_bytes)
            received = await _taken(intake, body, encoding, kind, _sender_of(request))
        except _RefusedError as refused:
            return _refuse(refused, kind)
        finally:
            in_flight.leave()
        return Response(status_code=204, headers=_written(kind, received))

    @app.post("/v1/metrics")
    async def metrics(request: Request) -> Response:
        """Take metrics from OpenTelemetry (OTLP/HTTP; protobuf or JSON, gzip or none)."""
        encoded = Otlp.PROTOBUF
        if not in_flight.enter():
            return otlp_http.refusal(encoded, 429, "too many requests at once")
        try:
            encoded = _otlp_of(request)
            encoding = _check_otlp(request, token)
            _check_broker(away())
            body = await _body(request, settings.gateway_body_bytes)
            received = await _taken(intake, body, encoding, encoded, _sender_of(request))
        except _RefusedError as refused:
            if refused.received.taken or refused.received.ignored:
                return otlp_http.accepted(encoded, refused.received)
            log.warning("metrics_refused", status=refused.status, reason=refused.text[:500])
            return otlp_http.refusal(encoded, refused.status, refused.text)
        finally:
            in_flight.leave()
        return otlp_http.accepted(encoded, received)

    return app


def _refuse(refused: _RefusedError, kind: Message) -> Response:
    log.warning("write_refused", status=refused.status, reason=refused.text[:500])
    headers = _written(kind, refused.received)
    if refused.status in (429, 503):
        headers["Retry-After"] = _RETRY_AFTER_S
    return Response(refused.text + "\n", refused.status, headers, "text/plain")


def _sender_of(request: Request) -> str:
    address = request.client.host if request.client else "unknown"
    return sender_name(address, request.headers.get("user-agent", ""))


async def _taken(
    intake: Intake, body: bytes, encoding: str, kind: Message | Otlp, sender: str
) -> Received:
    """The counts of a body that is good as a whole; raises _RefusedError otherwise."""
    try:
        received = await intake.take(body, encoding, kind, sender)
    except InvalidBatch as error:
        SAMPLES.labels("refused").inc()
        raise _RefusedError(400, str(error)) from error
    except MessagingError as error:
        raise _RefusedError(503, f"the broker did not confirm: {error}") from error
    if received.faults:
        raise _RefusedError(400, "; ".join(received.faults), received)
    return received


def _written(kind: Message, received: Received) -> dict[str, str]:
    """The headers that 2.0 wants of every answer. Dropped on purpose counts as written."""
    if kind is not Message.V2:
        return {}
    return {
        "X-Prometheus-Remote-Write-Samples-Written": str(received.taken + received.ignored),
        "X-Prometheus-Remote-Write-Histograms-Written": "0",
        "X-Prometheus-Remote-Write-Exemplars-Written": "0",
    }


def _check_headers(request: Request, token: str) -> tuple[Message, str]:
    """The body's message type and compression; both headers may be absent."""
    headers = request.headers
    _check_sender(request, token)
    kind = _message_of(headers.get("content-type", _PROTOBUF))
    encoding = headers.get("content-encoding", "snappy").strip().lower()
    if encoding not in ("snappy", "zstd"):
        raise _RefusedError(415, "Content-Encoding must be snappy or zstd")
    wanted = "0.1" if kind is Message.V1 else "2"
    version = headers.get("x-prometheus-remote-write-version", wanted)
    if not f"{version}.".startswith(f"{wanted}."):
        raise _RefusedError(
            415,
            f"remote write version {version[:20]!r} is not {wanted}.x, as it must be with {kind}",
        )
    return kind, encoding


def _check_sender(request: Request, token: str) -> None:
    if token and not same(presented(request.headers.get("authorization", "")), token):
        raise _RefusedError(401, "a bearer token is needed (or the token as a password)")
    if "origin" in request.headers:
        raise _RefusedError(403, "a page in a browser may not write here")


def _otlp_of(request: Request) -> Otlp:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return Otlp(media)
    except ValueError:
        known = " or ".join(Otlp)
        raise _RefusedError(415, f"Content-Type must be {known}") from None


def _check_otlp(request: Request, token: str) -> str:
    """Return how the body is compressed."""
    _check_sender(request, token)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise _RefusedError(415, "Content-Encoding must be gzip or left out")
    return encoding


def _check_broker(away: str) -> None:
    # A sender keeps its samples better than a request that waits in here can.
    if away:
        raise _RefusedError(503, f"nothing can be published now: {away}")


def _message_of(content_type: str) -> Message:
    media, *parameters = (part.strip() for part in content_type.split(";"))
    if media.lower() != _PROTOBUF:
        raise _RefusedError(415, f"Content-Type must be {_PROTOBUF}")
    named = [p.partition("=")[2].strip(' "') for p in parameters if p.lower().startswith("proto=")]
    try:
        return Message(named[0]) if named else Message.V1
    except ValueError:
        known = " (1.0) or ".join(Message) + " (2.0)"
        raise _RefusedError(415, f"proto must be {known}") from None


async def _body(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > most:
        raise _RefusedError(413, f"{declared[:20]} bytes, more than {most}")
    body = bytearray()
    try:
        # A slow sender must not occupy a place.
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise _RefusedError(413, f"more than {most} bytes")
    except TimeoutError:
        raise _RefusedError(408, f"the body did not come within {_BODY_TIMEOUT_S} s") from None
    return bytes(body)
