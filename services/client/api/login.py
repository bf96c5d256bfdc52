"""Signing in at the pages with the API token and a name, and signing out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.api.forms import SentForm, fields_of
from services.client.api.guard import COOKIE
from services.client.api.rendering import Render
from services.client.callers import Callers
from services.client.model import ReadModel
from services.client.sessions import BROWSER_KNOWN_S, LASTS_S, Attempts
from shared.visible import visible

_BROWSER = "barograph_browser"
_MAX_FIELDS = 10


def router(page: Render, callers: Callers, model: ReadModel) -> APIRouter:
    """/login and /logout."""
    routes = APIRouter(include_in_schema=False)
    attempts = Attempts()

    @routes.get("/login")
    def login() -> HTMLResponse:
        return page("login.html", wrong="")

    @routes.post("/login")
    async def enter(request: Request) -> Response:
        known = request.cookies.get(_BROWSER, "")
        browser = callers.browser(known)
        who = browser or (request.client.host if request.client else "")
        if attempts.too_many(who):
            return page("login.html", 429, wrong="Too many attempts; wait a minute.")
        form = fields_of(await request.body(), _MAX_FIELDS)
        name = visible(form.get("name", [""])[0]).strip()
        presented = form.get("token", [""])[0]
        session = await run_in_threadpool(callers.begin, presented, name)
        if session is None:
            attempts.failed(who)
            return page("login.html", 403, wrong="That is not the token.")
        answer = RedirectResponse("/", 303)
        proxies = request.headers.get("x-forwarded-proto", "").split(",")
        secure = "https" in (request.url.scheme, *map(str.strip, proxies))
        answer.set_cookie(
            COOKIE,
            session,
            max_age=LASTS_S,
            httponly=True,
            samesite="strict",
            secure=secure,
        )
        answer.set_cookie(
            _BROWSER,
            known if browser else callers.begin_browser(),
            max_age=BROWSER_KNOWN_S,
            path="/login",
            httponly=True,
            samesite="strict",
            secure=secure,
        )
        return answer

    @routes.post("/logout")
    def leave(form: SentForm) -> Response:
        model.end_session(form.session)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return routes
