"""The application: what is needed of the healer, and the routes put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from services.healer.api import (
    actions,
    alertmanager,
    alerts,
    associations,
    jobs,
    links,
    narrative,
    silences,
)
from services.healer.api.guard import Guard
from services.healer.handlers import Handlers
from services.healer.model.faults import faults_of
from services.healer.notify.channels import Tools
from services.healer.notify.links import Links, Purpose
from services.healer.people.acknowledgement import NotFound
from services.healer.people.link_actions import Click
from services.healer.settings import HealerSettings
from shared.contracts import Fault
from shared.service import Context, ServiceUnit
from shared.store import StoreUnavailable


@dataclass(frozen=True)
class Healer:
    """What the routes work with."""

    settings: HealerSettings
    handlers: Handlers
    unit: Callable[[], AbstractContextManager[ServiceUnit]]
    context: Callable[..., Context]
    clock: Callable[[], datetime]
    links: Links
    clicks: Mapping[Purpose, Click]
    tools: Tools
    wake: Callable[[], None] = lambda: None


def create_app(healer: Healer) -> FastAPI:
    """Alertmanager's doors, links, and the API under /api/v1."""
    app = FastAPI(
        title="Barograph healer",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        summary="Alerts in; acknowledge, silence, test channels.",
    )
    app.include_router(alertmanager.router(healer))
    app.include_router(links.router(healer))
    app.include_router(alerts.router(healer), prefix="/api/v1")
    app.include_router(narrative.router(healer), prefix="/api/v1")
    app.include_router(actions.router(healer), prefix="/api/v1")
    app.include_router(silences.router(healer), prefix="/api/v1")
    app.include_router(associations.router(healer), prefix="/api/v1")
    app.include_router(jobs.router(healer), prefix="/api/v1")
    _faults(app)
    settings = healer.settings
    app.add_middleware(Guard, hosts=settings.hosts, token=settings.http_token.get_secret_value())
    return app


def _faults(app: FastAPI) -> None:
    def answer(status: int, *faults: Fault) -> JSONResponse:
        body = {"faults": [fault.model_dump() for fault in faults]}
        return JSONResponse(body, status, {"Retry-After": "5"} if status == 503 else None)  # noqa: PLR2004

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        inside = [{**e, "loc": e["loc"][1:]} for e in error.errors()]
        return answer(422, *faults_of(inside))

    @app.exception_handler(ValidationError)
    def _not_valid(_request: Request, error: ValidationError) -> JSONResponse:
        return answer(422, *faults_of(error.errors()))

    @app.exception_handler(NotFound)
    def _missing(_request: Request, error: NotFound) -> JSONResponse:
        return answer(404, Fault(field="", problem=str(error)))

    @app.exception_handler(StoreUnavailable)
    def _away(_request: Request, error: StoreUnavailable) -> JSONResponse:
        return answer(503, Fault(field="", problem=f"the store is not reachable: {error}"))
