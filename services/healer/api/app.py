"""The application: assembles the routes and the error handling."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import BaseRoute

from services.healer.api import (
    actions,
    alertmanager,
    alerts,
    associations,
    health,
    jobs,
    links,
    narrative,
    silences,
)
from services.healer.api.alertmanager import UnreadableBodyError
from services.healer.api.dependencies import Healer
from services.healer.api.guard import Guard
from services.healer.model.faults import faults_of
from services.healer.people.acknowledgement import NotFound
from shared.contracts import Fault
from shared.service.routes import below
from shared.store import StoreUnavailable

_RETRY = {"Retry-After": "5"}


@cache
def _included() -> list[BaseRoute]:
    doors = (alertmanager, links)
    api = (alerts, narrative, actions, health, silences, associations, jobs)
    return below([(each.routes, "") for each in doors] + [(each.routes, "/api/v1") for each in api])


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
    app.state.healer = healer
    app.router.routes.extend(_included())
    _faults(app)
    settings = healer.settings
    app.add_middleware(Guard, hosts=settings.hosts, token=settings.http_token.get_secret_value())
    return app


def _faults(app: FastAPI) -> None:
    def answer(status: int, *faults: Fault) -> JSONResponse:
        body = {"faults": [fault.model_dump() for fault in faults]}
        return JSONResponse(
            body, status, _RETRY if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        )

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        inside = [{**e, "loc": e["loc"][1:]} for e in error.errors()]
        return answer(422, *faults_of(inside))

    @app.exception_handler(UnreadableBodyError)
    def _unreadable(_request: Request, error: UnreadableBodyError) -> JSONResponse:
        return answer(400, Fault(field="", problem=str(error)))

    @app.exception_handler(StarletteHTTPException)
    def _http(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        response = answer(error.status_code, Fault(field="", problem=str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ValidationError)
    def _not_valid(_request: Request, error: ValidationError) -> JSONResponse:
        return answer(422, *faults_of(error.errors()))

    @app.exception_handler(NotFound)
    def _missing(_request: Request, error: NotFound) -> JSONResponse:
        return answer(404, Fault(field="", problem=str(error)))

    @app.exception_handler(StoreUnavailable)
    def _away(_request: Request, error: StoreUnavailable) -> JSONResponse:
        return answer(503, Fault(field="", problem=f"the store is not reachable: {error}"))
