"""The application: assembles routes, guard and error handling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.routing import BaseRoute

from services.client.access import Access
from services.client.alerts.model import AlertModel
from services.client.api import (
    alert_pages,
    book_pages,
    decisions,
    faults,
    job_pages,
    jobs,
    judgement_pages,
    ledger_pages,
    login,
    logs,
    oidc_login,
    overview,
    packages,
    pages,
    plans,
    results,
    series,
    settings_page,
    silence_pages,
    submit_pages,
    uploads,
    usage,
)
from services.client.api import tokens as token_routes
from services.client.api.dead_letters import DeadLetters
from services.client.api.dependencies import Client
from services.client.api.gpus import GpuCurves
from services.client.api.guard import Guard
from services.client.api.reach import Reaching
from services.client.api.rendering import renderer
from services.client.callers import Callers
from services.client.healer_api import HealerApi
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.oidc import Provider
from services.client.questions import Questions
from services.client.settings import ClientSettings
from services.client.tokens import Tokens
from shared.messaging import Publisher
from shared.service.routes import below
from shared.storage import ObjectStore

_API = "/api/v1"


_OF_API = (
    jobs.routes,
    plans.routes,
    usage.routes,
    logs.routes,
    results.routes,
    uploads.routes,
    packages.routes,
    series.routes,
    token_routes.routes,
)
_OF_PAGES = (
    series.pages,
    submit_pages.routes,
    settings_page.routes,
    overview.routes,
    alert_pages.routes,
    job_pages.routes,
    judgement_pages.routes,
    pages.routes,
    login.routes,
    oidc_login.routes,
    decisions.routes,
    silence_pages.routes,
    book_pages.routes,
    ledger_pages.routes,
)
_ROUTED = [(router, _API) for router in _OF_API] + [(router, "") for router in _OF_PAGES]
"""Every router with the prefix of its paths, in the order in which they are tried."""


@cache
def _included() -> list[BaseRoute]:
    return below(_ROUTED)


def create_app(
    settings: ClientSettings,
    publisher: Publisher,
    model: ReadModel,
    alerts: AlertModel,
    objects: ObjectStore,
    log: Logs,
    followers: Followers,
    questions: Questions,
) -> FastAPI:
    """API under /api/v1, its description at /api/v1/openapi.json, the pages beside it."""
    app = _bare_app()
    page, tokens = renderer(settings), Tokens(model.store)
    callers = Callers(settings, model, tokens)
    healer = HealerApi(settings)
    app.state.client = Client(
        settings=settings,
        publisher=publisher,
        model=model,
        alerts=alerts,
        objects=objects,
        log=log,
        followers=followers,
        questions=questions,
        page=page,
        tokens=tokens,
        callers=callers,
        healer=healer,
        reaching=Reaching(healer),
        gpus=GpuCurves(questions),
        dead_letters=DeadLetters(questions),
        provider=Provider(settings) if settings.oidc_issuer else None,
    )
    faults.install(app, page)
    app.router.routes.extend(_included())
    app.mount("/static", StaticFiles(directory=Path(__file__).parents[1] / "static"))
    access = Access([("GET", f"{_API}/openapi.json"), *_listed(_ROUTED)])
    app.add_middleware(Guard, settings=settings, callers=callers, access=access, page=page)
    return app


def _bare_app() -> FastAPI:
    return FastAPI(
        title="Barograph",
        version="1",
        summary="Submit TensorFlow jobs, watch them, read their logs.",
        openapi_url=f"{_API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )


def _listed(routed: Iterable[tuple[APIRouter, str]]) -> Iterator[tuple[str, str]]:
    """Method and path of each route, in the order in which they are tried."""
    for router, prefix in routed:
        for route in router.routes:
            if not isinstance(route, APIRoute):
                raise TypeError(f"{route} has no methods, by which roles are given")
            for method in route.methods or ():
                yield method, f"{prefix}{route.path}"
