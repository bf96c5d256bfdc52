"""Signing in at the pages with the API token and a name, and signing out."""

from __future__ import annotations

from typing import Literal, TypedDict

import structlog
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.access import CALLER, STRANGER
from services.client.api.dependencies import Client, Provided
from services.client.api.forms import SentForm, fields_of
from services.client.api.guard import SESSION
from services.client.provider_connection import ProviderUnavailable
from services.client.sessions import BROWSER_KNOWN_S, CURRENT, Session
from shared.visible import visible

log = structlog.get_logger(__name__)
_BROWSER = "browser"
_MAX_FIELDS = 10
routes = APIRouter(include_in_schema=False)


@routes.get("/login")
def login(client: Provided) -> HTMLResponse:
    return client.page("login.html", wrong="")


@routes.post("/login")
async def enter(client: Provided, request: Request) -> Response:
    who = who_asks(client, request)
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
    enter_with(client, request, answer, session)
    return answer


def who_asks(client: Client, request: Request) -> str:
    """The key under which failed attempts are counted: a known browser, or else the peer."""
    known = request.cookies.get(client.callers.cookie_name(_BROWSER), "")
    browser = client.callers.browser(known)
    return browser or (request.client.host if request.client else "")


def enter_with(client: Client, request: Request, answer: Response, session: str) -> None:
    """Give a browser the cookie of a session, and the one by which it is known again."""
    safe = cookie_rules(client, request)
    name = client.callers.cookie_name
    answer.set_cookie(name(SESSION), session, max_age=client.callers.session_s, **safe)
    known = request.cookies.get(name(_BROWSER), "")
    if client.callers.browser(known) is None:
        known = client.callers.begin_browser()
    answer.set_cookie(name(_BROWSER), known, max_age=BROWSER_KNOWN_S, path="/login", **safe)


@routes.post("/logout")
def leave(client: Provided, form: SentForm) -> Response:
    if form.session.lasts:
        client.model.end_session(form.session)
    way = _way_out(client, form.session)
    # A form may not lead to another site, by redirects either; a page may.
    answer: Response = RedirectResponse("/login", 303)
    if way:
        CURRENT.set(None)
        CALLER.set(STRANGER)
        answer = client.page("left.html", provider_way=way)
    name = client.callers.cookie_name(SESSION)
    answer.delete_cookie(name, httponly=True, samesite="strict")
    return answer


def _way_out(client: Client, session: Session) -> str | None:
    """Return the provider's sign-out address for a person who signed in there; None for others."""
    by_provider = session.lasts and session.groups is not None
    if not by_provider or client.provider is None:
        return None
    try:
        return client.provider.sign_out_address()
    except ProviderUnavailable as error:
        log.warning("identity_provider_unavailable", reason=str(error))
        return None


class CookieRules(TypedDict):
    """Options that keep a cookie from scripts, other sites and unencrypted connections."""

    httponly: bool
    samesite: Literal["strict", "lax"]
    secure: bool


def cookie_rules(
    client: Client, request: Request, samesite: Literal["strict", "lax"] = "strict"
) -> CookieRules:
    """The rules for a cookie that this browser is given."""
    secure = _is_encrypted(request) or client.settings.public_url.startswith("https:")
    return CookieRules(httponly=True, samesite=samesite, secure=secure)


def _is_encrypted(request: Request) -> bool:
    """Return whether the browser came by HTTPS, to this service or to a proxy before it."""
    proxies = request.headers.get("x-forwarded-proto", "").split(",")
    return "https" in (request.url.scheme, *map(str.strip, proxies))
