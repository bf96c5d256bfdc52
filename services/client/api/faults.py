"""Errors as callers see them: ``{"faults": [{"field": ..., "problem": ...}]}``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from services.client.api.rendering import Render
from services.client.healer_api import HealerRefused, HealerUnavailable
from services.client.questions import TooManyQuestions
from services.client.wording import faults
from shared.contracts import Fault
from shared.messaging import BrokerUnavailable, Unpublishable, Unroutable
from shared.storage import NotFound, StorageError, StorageUnavailable
from shared.store import StoreUnavailable


class Faults(BaseModel):
    """Everything that is wrong with a request."""

    faults: list[Fault]


class Refusal(Exception):
    """A request that is answered with ``status`` and these faults."""

    def __init__(self, status: int, *found: Fault) -> None:
        super().__init__("; ".join(f.problem for f in found))
        self.status, self.faults = status, found


def refusal(status: int, problem: str, field: str = "") -> Refusal:
    """A refusal with one fault."""
    return Refusal(status, Fault(field=field, problem=problem))


def answer(status: int, found: Iterable[Fault]) -> JSONResponse:
    """The response that names what was ``found`` to be wrong."""
    headers = {"Retry-After": "5"} if status == 503 else None  # noqa: PLR2004 - HTTP's number
    body = {"faults": [f.model_dump() for f in found]}
    return JSONResponse(body, status_code=status, headers=headers)


def install(app: FastAPI, page: Render) -> None:
    """Give every expected error its status and faults."""

    def told(request: Request, status: int, found: Iterable[Fault]) -> Response:
        """A page for who looks at pages, JSON for programs."""
        listed = list(found)
        if request.url.path.startswith("/api/") or "text/html" not in _accepted(request):
            return answer(status, listed)
        return page("refused.html", status, faults=listed)

    @app.exception_handler(Refusal)
    def _refused(request: Request, error: Refusal) -> Response:
        return told(request, error.status, error.faults)

    @app.exception_handler(HealerRefused)
    def _healer_refused(request: Request, error: HealerRefused) -> Response:
        return told(request, 422, [Fault(field="", problem=text) for text in error.faults])

    @app.exception_handler(RequestValidationError)
    def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(422, faults(error.errors()))

    @app.exception_handler(ValidationError)
    def _invalid_message(_request: Request, error: ValidationError) -> JSONResponse:
        return answer(422, faults(error.errors(include_url=False)))

    @app.exception_handler(StarletteHTTPException)
    def _http(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        response = answer(error.status_code, [Fault(field="", problem=str(error.detail))])
        response.headers.update(error.headers or {})
        return response

    def single(status: int, text: str) -> Any:
        def handle(request: Request, error: Exception) -> Response:
            return told(request, status, [Fault(field="", problem=f"{text}: {error}")])

        return handle

    app.add_exception_handler(Unpublishable, single(422, "it cannot be sent"))
    app.add_exception_handler(BrokerUnavailable, single(503, "the broker is not reachable"))
    app.add_exception_handler(Unroutable, single(503, "the service it is for is not there yet"))
    app.add_exception_handler(HealerUnavailable, single(503, "this page needs the healer"))
    app.add_exception_handler(TooManyQuestions, single(503, "the services are asked too much"))
    app.add_exception_handler(StoreUnavailable, single(503, "the database is away"))
    app.add_exception_handler(StorageUnavailable, single(503, "the object store is away"))
    app.add_exception_handler(NotFound, single(404, "not in the object store"))
    app.add_exception_handler(StorageError, single(502, "the object store refused"))


def _accepted(request: Request) -> str:
    return request.headers.get("accept", "")
