"""Errors as callers see them: ``{"faults": [{"field": ..., "problem": ...}]}``."""

from __future__ import annotations

from collections.abc import Iterable

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


_OF_OTHERS: dict[type[Exception], tuple[int, str]] = {
    Unpublishable: (422, "it cannot be sent"),
    BrokerUnavailable: (503, "the broker is not reachable"),
    Unroutable: (503, "the service it is for is not there yet"),
    HealerUnavailable: (503, "this page needs the healer"),
    TooManyQuestions: (503, "the services are asked too much"),
    StoreUnavailable: (503, "the database is away"),
    StorageUnavailable: (503, "the object store is away"),
    NotFound: (404, "not in the object store"),
    StorageError: (502, "the object store refused"),
}
"""Errors of what the service works with: the status and the words before the error's own."""


def install(app: FastAPI, page: Render) -> None:
    """Give every expected error its status and faults."""
    _of_requests(app)

    def shown(request: Request, status: int, *listed: Fault) -> Response:
        """A page for who looks at pages, JSON for programs."""
        if request.url.path.startswith("/api/") or "text/html" not in _accepted(request):
            return answer(status, listed)
        return page("refused.html", status, faults=list(listed))

    @app.exception_handler(Refusal)
    def _refused(request: Request, error: Refusal) -> Response:
        return shown(request, error.status, *error.faults)

    @app.exception_handler(HealerRefused)
    def _healer_refused(request: Request, error: HealerRefused) -> Response:
        return shown(request, 422, *(Fault(field="", problem=text) for text in error.faults))

    def other(request: Request, error: Exception) -> Response:
        status, text = next(_OF_OTHERS[kind] for kind in type(error).__mro__ if kind in _OF_OTHERS)
        return shown(request, status, Fault(field="", problem=f"{text}: {error}"))

    for kind in _OF_OTHERS:
        app.add_exception_handler(kind, other)


def _of_requests(app: FastAPI) -> None:
    """Answer requests that do not fit their route as JSON: forms of pages send what fits."""

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


def _accepted(request: Request) -> str:
    return request.headers.get("accept", "")
