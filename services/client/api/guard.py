"""What stands before every request: names, origins, the token, and protective headers."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.client.api.faults import answer
from services.client.settings import ClientSettings
from shared.contracts import Fault
from shared.service.http import same, with_headers

COOKIE = "barograph_token"
_SAFE = {"GET", "HEAD", "OPTIONS"}
_OPEN = ("/login", "/static/")
_PROTECTIVE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware.

    The Host header must be a name we know (against DNS rebinding); a browser's writes must come
    from our own page (against forged requests); with a token configured, callers must have it.
    """

    def __init__(self, app: ASGIApp, settings: ClientSettings) -> None:
        self._app = app
        self._hosts = settings.hosts | {settings.http_host.lower()}
        self._token = settings.api_token.get_secret_value()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        guarded = with_headers(send, _PROTECTIVE)
        headers = Headers(scope=scope)
        wrong = self._wrong(scope, headers)
        if wrong is None:
            await self._app(scope, receive, guarded)
        elif wrong[0] == 401 and "text/html" in headers.get("accept", ""):  # noqa: PLR2004
            await RedirectResponse("/login", 303)(scope, receive, guarded)
        else:
            refused = answer(wrong[0], [Fault(field="", problem=wrong[1])])
            await refused(scope, receive, guarded)

    def _wrong(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return 400, "this Host is not one of BAROGRAPH_CLIENT_ALLOWED_HOSTS"
        if scope["method"] not in _SAFE:
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                return 403, "a page of another origin may not change anything here"
            if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
                return 403, "a page of another site may not change anything here"
        if self._token and not scope["path"].startswith(_OPEN) and not self._has_token(headers):
            return 401, "present the token: Authorization: Bearer ..."
        return None

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            try:
                cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
            except CookieError:
                return False
            given = cookie.value if cookie else ""
        return same(given, self._token)


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
