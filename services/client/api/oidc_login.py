"""Signing in at the identity provider: the redirect to it and the callback."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from services.client.api.dependencies import Client, Provided
from services.client.api.faults import refusal
from services.client.api.login import cookie_rules, enter_with, who_asks
from services.client.callers import NoRights
from services.client.oidc import CALLBACK, FLOW_S, Provider, SignInRefused
from services.client.provider_connection import ProviderUnavailable

log = structlog.get_logger(__name__)
_FLOW, _PATH = "oidc", "/login/oidc"
_AWAY = "The identity provider does not answer. Try again, or enter with a token of your own."
routes = APIRouter(include_in_schema=False)


@routes.get(_PATH)
def begin(client: Provided, request: Request) -> Response:
    provider = _provider(client)
    if client.attempts.too_many(who_asks(client, request)):
        return client.page("login.html", 429, wrong="Too many attempts; wait a minute.")
    flow, cookie = client.callers.begin_flow()
    try:
        address = provider.address(flow)
    except ProviderUnavailable as error:
        log.warning("identity_provider_unavailable", reason=str(error))
        return client.page("login.html", 503, wrong=_AWAY)
    answer = RedirectResponse(address, 303)
    # The provider's redirect comes from another site, to which "strict" sends nothing.
    rules = cookie_rules(client, request, samesite="lax")
    name = client.callers.cookie_name(_FLOW)
    answer.set_cookie(name, cookie, max_age=int(FLOW_S), path=_PATH, **rules)
    return answer


@routes.get(CALLBACK)
def finish(client: Provided, request: Request) -> Response:
    provider, who = _provider(client), who_asks(client, request)
    if client.attempts.too_many(who):
        return client.page("login.html", 429, wrong="Too many attempts; wait a minute.")
    cookie = client.callers.cookie_name(_FLOW)
    flow = client.callers.read_flow(request.cookies.get(cookie, ""))
    if flow is None:
        text = "That sign-in began elsewhere, or too long ago; begin again."
        return client.page("login.html", 400, wrong=text)
    try:
        person = provider.person(flow, request.url.query)
        session = client.callers.begin_person(person)
    except ProviderUnavailable as error:
        log.warning("identity_provider_unavailable", reason=str(error))
        answer: Response = client.page("login.html", 503, wrong=_AWAY)
    except (SignInRefused, NoRights) as error:
        client.attempts.failed(who)
        log.warning("sign_in_refused", reason=str(error), address=who)
        answer = client.page("login.html", 403, wrong=f"Not signed in: {error}.")
    else:
        log.info("signed_in", name=person.name, by="oidc")
        # A redirect that another site began would not carry the session's cookie; a page does.
        answer = client.page("entered.html", name=person.name)
        enter_with(client, request, answer, session)
    answer.delete_cookie(cookie, path=_PATH, httponly=True, samesite="lax")
    return answer


def _provider(client: Client) -> Provider:
    if client.provider is None:
        raise refusal(404, "no identity provider is configured: set BAROGRAPH_CLIENT_OIDC_ISSUER")
    return client.provider
