"""The application: routes, guard and faults put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from services.client.access import Access
from services.client.alerts.model import AlertModel
from services.client.api import (
    alert_pages,
    book_pages,
    decisions,
    faults,
    jobs,
    login,
    logs,
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
from services.client.api.guard import Guard
from services.client.api.rendering import renderer
from services.client.callers import Callers
from services.client.healer_api import HealerApi
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from services.client.tokens import Tokens
from shared.messaging import Publisher
from shared.storage import ObjectStore

_API = "/api/v1"


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
    app = FastAPI(
        title="Barograph",
        version="1",
        summary="Hand in TensorFlow jobs, watch them, read their logs.",
        openapi_url=f"{_API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    page = renderer(settings)
    faults.install(app, page)
    tokens = Tokens(model)
    callers = Callers(settings, model, tokens)
    healer = HealerApi(settings)
    own_uploads = uploads.Uploads(objects, model, settings)
    asked = plans.Plans(publisher, model, objects, settings, healer)

    def hand_in(body: dict[str, Any]) -> str:
        return jobs.hand_in(publisher, model, healer, body).job_id

    api = (
        jobs.router(publisher, model, healer),
        plans.router(asked, model, followers),
        usage.router(model),
        logs.router(model, log, followers),
        results.router(objects, model, settings.s3_bucket),
        uploads.router(own_uploads),
        packages.router(objects, settings),
        series.router(questions),
        token_routes.router(model, tokens, settings),
    )
    shown = (
        series.pages(questions, page),
        submit_pages.router(page, model, objects, settings, asked, hand_in),
        settings_page.router(questions, settings, page),
        overview.router(model, alerts, page),
        alert_pages.router(alerts, page, settings, healer),
        pages.router(model, page, settings),
        login.router(page, callers, model),
        decisions.router(publisher, alerts),
        silence_pages.router(healer, alerts, page),
        book_pages.router(healer, alerts, page),
    )
    routed = [(router, _API) for router in api] + [(router, "") for router in shown]
    for router, prefix in routed:
        app.include_router(router, prefix=prefix)
    app.mount("/static", StaticFiles(directory=Path(__file__).parents[1] / "static"))
    access = Access([("GET", f"{_API}/openapi.json"), *_listed(routed)])
    app.add_middleware(Guard, settings=settings, callers=callers, access=access)
    return app


def _listed(routed: Iterable[tuple[APIRouter, str]]) -> Iterator[tuple[str, str]]:
    """Method and path of each route, in the order in which they are tried."""
    for router, prefix in routed:
        for route in router.routes:
            assert isinstance(route, APIRoute)  # noqa: S101 - our routers have no others
            for method in route.methods or ():
                yield method, f"{prefix}{route.path}"
