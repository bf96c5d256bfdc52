"""The application: routes, guard and faults put together."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

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
    pages,
    plans,
    results,
    series,
    settings_page,
    silence_pages,
    uploads,
    usage,
)
from services.client.api.guard import Guard
from services.client.api.rendering import renderer
from services.client.healer_api import HealerApi
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.messaging import Publisher
from shared.storage import ObjectStore


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
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    page = renderer(settings)
    faults.install(app, page)
    healer = HealerApi(settings)
    app.include_router(jobs.router(publisher, model, healer), prefix="/api/v1")
    plan = plans.router(publisher, model, objects, followers, settings, healer)
    app.include_router(plan, prefix="/api/v1")
    app.include_router(usage.router(model), prefix="/api/v1")
    app.include_router(logs.router(model, log, followers), prefix="/api/v1")
    kept = results.router(objects, model, settings.s3_bucket)
    app.include_router(kept, prefix="/api/v1")
    own_uploads = uploads.Uploads(objects, model, settings)
    app.include_router(uploads.router(own_uploads), prefix="/api/v1")
    app.include_router(series.router(questions), prefix="/api/v1")
    app.include_router(series.pages(questions, page))
    app.include_router(settings_page.router(questions, settings, page))
    app.include_router(overview.router(model, alerts, page))
    app.include_router(alert_pages.router(alerts, page, settings, healer))
    app.include_router(pages.router(model, page, settings))
    app.include_router(login.router(page, settings, model))
    app.include_router(decisions.router(publisher, alerts))
    app.include_router(silence_pages.router(healer, alerts, page))
    app.include_router(book_pages.router(healer, alerts, page))
    app.mount("/static", StaticFiles(directory=Path(__file__).parents[1] / "static"))
    app.add_middleware(Guard, settings=settings, has_ended=model.has_ended)
    return app
