"""Signing in at the pages with the API token and a name, and signing out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.api.forms import SentForm, fields_of
from services.client.api.guard import COOKIE
from services.client.api.rendering import Render
from services.client.model import ReadModel
from services.client.sessions import LASTS_S, Attempts, Sessions
from services.client.settings import ClientSettings
from shared.service.http import same
from shared.visible import visible

_MAX_FIELDS = 10
_UNNAMED = "the holder of the token"


def router(page: Render, settings: ClientSettings, model: ReadModel) -> APIRouter:
    """/login and /logout."""
    routes = APIRouter(include_in_schema=False)
    sessions, attempts = Sessions(settings.api_token.get_secret_value()), Attempts()

    @routes.get("/login")
    def login() -> HTMLResponse:
        return page("login.html", wrong="")

    @routes.post("/login")
    async def enter(request: Request) -> Response:
        address = request.client.host if request.client else ""
        if attempts.too_many(address):
            return page("login.html", 429, wrong="Too many attempts; wait a minute.")
        form = fields_of(await request.body(), _MAX_FIELDS)
        token = settings.api_token.get_secret_value()
        if not token or not same(form.get("token", [""])[0], token):
            attempts.failed(address)
            return page("login.html", 403, wrong="That is not the token.")
        answer = RedirectResponse("/", 303)
        proxies = request.headers.get("x-forwarded-proto", "").split(",")
        secure = "https" in (request.url.scheme, *map(str.strip, proxies))
        name = visible(form.get("name", [""])[0]).strip() or _UNNAMED
        answer.set_cookie(
            COOKIE,
            sessions.begin(name),
            max_age=LASTS_S,
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
