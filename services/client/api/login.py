"""Signing in at the pages with the API token and a name, and signing out."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.client.api.forms import SentForm
from services.client.api.guard import COOKIE
from services.client.api.rendering import Render
from services.client.sessions import LASTS_S, Attempts, Sessions
from services.client.settings import ClientSettings
from shared.service.http import same
from shared.visible import visible

_UNNAMED = "the holder of the token"


def router(page: Render, settings: ClientSettings) -> APIRouter:
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
        form = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=10)
        token = settings.api_token.get_secret_value()
        if not token or not same(form.get("token", [""])[0], token):
            attempts.failed(address)
            return page("login.html", 403, wrong="That is not the token.")
        answer = RedirectResponse("/", 303)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
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
        del form  # that it is the person's own was seen when it was read
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return routes
