"""The guard of every request: host names, origins, tokens, body limits, security headers."""

from __future__ import annotations

import re
from http import HTTPStatus

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.client.access import CALLER, STRANGER, Access
from services.client.api.faults import shown
from services.client.api.lasting import Lasting
from services.client.api.packages import PATH as PACKAGES
from services.client.api.rendering import ADDRESS, Render
from services.client.callers import Callers, NoRights, Presented
from services.client.proxy import AmbiguousHeaderError
from services.client.sessions import CURRENT
from services.client.settings import ClientSettings
from shared.contracts import Fault
from shared.service import bodies
from shared.service.bodies import Refused
from shared.service.http import no_valid_token, parts_of, with_headers
from shared.store import StoreUnavailable

SESSION = "session"
"""The purpose of the cookie that says who somebody is."""
_SAFE = {"GET", "HEAD", "OPTIONS"}
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_PROTECTIVE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # A browser sends a form's Origin only if the referrer policy allows it.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_CACHED = _PROTECTIVE | {"cache-control": "public, max-age=300"}


class Guard:
    """ASGI middleware.

    The Host header must be a name we know (against DNS rebinding); a browser's writes must come
    from our own page (against forged requests); with a token configured, callers must have one
    whose role the route needs. Only then a body is read, whole and within bounds, so that no
    route can be made to hold more.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ClientSettings,
        callers: Callers,
        access: Access,
        page: Render,
    ) -> None:
        self._app, self._callers, self._access, self._page = app, callers, access, page
        self._hosts = settings.hosts | {settings.http_host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        static = scope["path"].startswith("/static/")
        guarded = with_headers(send, _CACHED if static else _PROTECTIVE)
        headers = Headers(scope=scope)
        ADDRESS.set((scope["path"], scope.get("query_string", b"").decode(errors="replace")))
        try:
            self._admit(scope, headers)
            lasting = None if static else await self._identify(scope, headers)
            if scope["method"] not in _SAFE and scope["path"] != PACKAGES:
                receive = await _bounded(scope, headers, receive)
        except Refused as refused:
            await self._refuse(refused, scope, headers)(scope, receive, guarded)
        else:
            with anyio.CancelScope() as answering:
                sending = lasting.until_rights_end(guarded, answering) if lasting else guarded
                await self._answer(scope, receive, sending, headers)

    async def _answer(
        self, scope: Scope, receive: Receive, guarded: Send, headers: Headers
    ) -> None:
        """Let the application answer; a fault of ours is answered, too, and raised for the log."""
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await guarded(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not begun:
                listed = [Fault(field="", problem="the service's log says what went wrong")]
                answer = shown(self._page, headers, scope["path"], 500, listed)
                await answer(scope, receive, guarded)
            raise

    def _admit(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            raise Refused(400, "this Host is not one of BAROGRAPH_CLIENT_ALLOWED_HOSTS")
        if scope["method"] not in _SAFE:
            origin = headers.get("origin")
            if origin is not None and parts_of(origin).netloc.lower() != host.lower():
                raise Refused(403, "a page of another origin may not change anything here")
            if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
                raise Refused(403, "a page of another site may not change anything here")

    async def _identify(self, scope: Scope, headers: Headers) -> Lasting | None:
        """Identifies the caller and enforces the role; no other code does.

        None where nobody needs any rights.
        """
        needed = self._access.needed(scope["method"], scope["path"])
        peer = scope["client"][0] if scope.get("client") else ""
        given = Presented(headers.get("authorization", ""), self._cookie(headers), peer, headers)
        try:
            caller, session = await run_in_threadpool(self._callers.of, given)
        except StoreUnavailable:
            raise Refused(503, "the database is unavailable") from None
        except AmbiguousHeaderError as error:
            raise Refused(400, str(error)) from None
        except NoRights as error:
            raise Refused(403, str(error)) from None
        CURRENT.set(session)
        CALLER.set(caller or STRANGER)
        if needed is None:
            return None
        if caller is None:
            raise Refused(401, no_valid_token("BAROGRAPH_TOKEN"))
        if not caller.role.allows(needed):
            text = f"this needs the role {needed}; {caller.name} is {caller.role}"
            raise Refused(403, text)
        return Lasting(self._callers, given, caller)

    def _cookie(self, headers: Headers) -> str:
        """The session's cookie; '' for none."""
        # Other programs of the host have cookies, too: any port's come along, whatever they hold.
        found = cookie_parser("; ".join(headers.getlist("cookie")))
        return found.get(self._callers.cookie_name(SESSION), "")

    def _refuse(self, refused: Refused, scope: Scope, headers: Headers) -> Response:
        response: Response
        if refused.status == HTTPStatus.UNAUTHORIZED and "text/html" in headers.get("accept", ""):
            response = RedirectResponse("/login", 303)
        else:
            listed = [Fault(field="", problem=refused.problem)]
            response = shown(self._page, headers, scope["path"], refused.status, listed)
        if scope["method"] not in _SAFE:
            # The connection is closed, since the rest of the body is not worth reading.
            response.headers["connection"] = "close"
        return response


def _name(host: str) -> str:
    """The name in a Host header, without its port; '' for what is more than these two.

    Redirects are made of the whole header, so nothing may stand behind the name but a port.
    """
    found = _HOST.fullmatch(host)
    return found["name"].lower() if found else ""


async def _bounded(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    is_form = scope["method"] == "POST" and not scope["path"].startswith("/api/")
    most = bodies.MAX_BYTES_OF_A_FORM if is_form else bodies.MAX_BYTES
    body = await bodies.read(headers, receive, most, bodies.WITHIN_S)
    if body and not is_form and (problem := bodies.fault_of_json(body)):
        raise Refused(422, problem)
    return bodies.again(body, receive)
