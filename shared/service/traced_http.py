"""The span of a request that changes something; what it publishes is in its trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import traces
from shared.traces import Kind

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class TracedRequests:
    """Middleware: a request's trace is the caller's (``traceparent``), or begins here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _SAFE:
            await self._app(scope, receive, send)
            return
        method = str(scope["method"])
        parent = Headers(scope=scope).get("traceparent", "")
        span = traces.begin(method, Kind.SERVER, parent, {"http.request.method": method})
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            with traces.within(span.traceparent):
                await self._app(scope, receive, sending)
        finally:
            span.attributes["http.response.status_code"] = status
            route = _route(scope)
            if route:
                span.name, span.attributes["http.route"] = f"{method} {route}", route
            failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            span.end(f"answered {status}" if failed else "")


def _route(scope: Scope) -> str:
    """The route's pattern, because each path would be a different name."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", ""))
