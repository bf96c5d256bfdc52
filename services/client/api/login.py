"""Signing in at the pages with the API token and a name, and signing out."""

from __future__ import annotations

from typing import Literal, TypedDict

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.api.dependencies import Provided
from services.client.api.forms import SentForm, fields_of
from services.client.api.guard import COOKIE
from services.client.sessions import BROWSER_KNOWN_S, LASTS_S
from shared.visible import visible

_BROWSER = "barograph_browser"
_MAX_FIELDS = 10
routes = APIRouter(include_in_schema=False)


@routes.get("/login")
def login(client: Provided) -> HTMLResponse:
    return client.page("login.html", wrong="")


@routes.post("/login")
async def enter(client: Provided, request: Request) -> Response:
    known = request.cookies.get(_BROWSER, "")
    browser = client.callers.browser(known)
    who = browser or (request.client.host if request.client else "")
    if client.attempts.too_many(who):
        return client.page("login.html", 429, wrong="Too many attempts; wait a minute.")
    form = fields_of(await request.body(), _MAX_FIELDS)
    name = visible(form.get("name", [""])[0]).strip()
    presented = form.get("token", [""])[0]
    session = await run_in_threadpool(client.callers.begin, presented, name)
    if session is None:
        client.attempts.failed(who)
        return client.page("login.html", 403, wrong="That is not the token.")
    answer = RedirectResponse("/", 303)
    safe = _SafeCookie(httponly=True, samesite="strict", secure=_is_encrypted(request))
    answer.set_cookie(COOKIE, session, max_age=LASTS_S, **safe)
    known = known if browser else client.callers.begin_browser()
    answer.set_cookie(_BROWSER, known, max_age=BROWSER_KNOWN_S, path="/login", **safe)
    return answer


@routes.post("/logout")
def leave(client: Provided, form: SentForm) -> Response:
    client.model.end_session(form.session)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


class _SafeCookie(TypedDict):
    """Options that keep a cookie from scripts, other sites and unencrypted connections."""

    httponly: bool
    samesite: Literal["strict"]
    secure: bool


def _is_encrypted(request: Request) -> bool:
    """Whether the browser came by HTTPS, to this service or to a proxy before it."""
    proxies = request.headers.get("x-forwarded-proto", "").split(",")
    return "https" in (request.url.scheme, *map(str.strip, proxies))
