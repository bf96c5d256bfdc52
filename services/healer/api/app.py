"""The application: the routes put together, and how each fault is answered."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

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
from services.healer.api.alertmanager import UnreadableBodyError
from services.healer.api.dependencies import Healer
from services.healer.api.guard import Guard
from services.healer.model.faults import faults_of
from services.healer.people.acknowledgement import NotFound
from shared.contracts import Fault
from shared.store import StoreUnavailable


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
    for doors in (alertmanager, links):
        app.include_router(doors.routes)
    for api in (alerts, narrative, actions, silences, associations, jobs):
        app.include_router(api.routes, prefix="/api/v1")
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
