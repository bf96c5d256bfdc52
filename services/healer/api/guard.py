"""The guard of every request: host names, the token, body limits, security headers."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.service import bodies
from shared.service.http import no_valid_token, parts_of, presented, same, with_headers

_PROTECTIVE = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
_OPEN = "/links/"
_ALERTS = ("/api/v2/alerts", "/webhooks/alertmanager")
_RECORDED = "/api/v1/associations"
_SAFE = ("GET", "HEAD", "OPTIONS")
_MAX_BODY_BYTES, _MAX_BYTES_OF_MANY = 1_000_000, 10_000_000
_MAX_VALUES, _MAX_RECORDED = 10_000, 5_000_000
"""The most values of a JSON body: each wrong one makes a fault, except in recorded metrics, where
each metric makes at most one.
"""


def _most_bytes(scope: Scope) -> int:
    many = scope["path"] in (*_ALERTS, _RECORDED)
    return _MAX_BYTES_OF_MANY if many else _MAX_BODY_BYTES


async def _bounded(scope: Scope, receive: Receive) -> Receive:
    """The body, read whole and in time; JSON of no more values than a request may have.

    Raises:
        bodies.Refused: for any other body.
    """
    body = await bodies.read(Headers(scope=scope), receive, _most_bytes(scope), bodies.WITHIN_S)
    is_json = scope["path"] not in _ALERTS and not scope["path"].startswith(_OPEN)
    most = _MAX_RECORDED if scope["path"] == _RECORDED else _MAX_VALUES
    if body and is_json and (problem := bodies.fault_of_json(body, most)):
        raise bodies.Refused(422, problem)
    return bodies.again(body, receive)


class Guard:
    """ASGI middleware.

    The Host must be a name we know (against DNS rebinding); a browser's writes must come from our
    own page; with a token configured, callers must have it. A link is its own permission.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._app = app
        self._hosts = hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        guarded = with_headers(send, _PROTECTIVE)
        wrong = self._wrong(scope, Headers(scope=scope))
        if wrong is None and scope["method"] not in _SAFE:
            try:
                receive = await _bounded(scope, receive)
            except bodies.Refused as refused:
                wrong = refused.status, refused.problem
        if wrong is None:
            await self._app(scope, receive, guarded)
            return
        status, problem = wrong
        body = {"faults": [{"field": "", "problem": problem}]}
        await JSONResponse(body, status)(scope, receive, guarded)

    def _wrong(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "").lower()
        if not self._token and parts_of(f"//{host}").hostname not in self._hosts:
            return 400, "this Host is not one of BAROGRAPH_HEALER_ALLOWED_HOSTS"
        if scope["method"] != "GET" and self._is_foreign(scope, headers, host):
            return 403, "a page of another origin may not change anything here"
        if "transfer-encoding" in headers:
            return 411, "a Content-Length header is required"
        declared, most = headers.get("content-length", "0"), _most_bytes(scope)
        if not (declared.isascii() and declared.isdigit()) or int(declared[:20]) > most:
            return 413, f"at most {most} bytes"
        closed = self._token and not scope["path"].startswith(_OPEN)
        if closed and not same(presented(headers.get("authorization", "")), self._token):
            return 401, no_valid_token("BAROGRAPH_HEALER_TOKEN")
        return None

    @staticmethod
    def _is_foreign(scope: Scope, headers: Headers, host: str) -> bool:
        origin = headers.get("origin")
        if origin is None:
            return False
        if origin == "null":
            # A link's page sends no referrer, so its form has no origin.
            return not scope["path"].startswith(_OPEN)
        return parts_of(origin).netloc.lower() != host
