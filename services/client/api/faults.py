"""Errors as callers see them: ``{"faults": [{"field": ..., "problem": ...}]}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
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
    """All faults of a request."""

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
    body = {"faults": [f.model_dump() for f in found]}
    return JSONResponse(body, status_code=status, headers=_retry(status))


_OF_OTHERS: dict[type[Exception], tuple[int, str]] = {
    Unpublishable: (422, "it cannot be sent"),
    BrokerUnavailable: (503, "the broker is not reachable"),
    Unroutable: (503, "the service it is for is not there yet"),
    HealerUnavailable: (503, "this page needs the healer"),
    TooManyQuestions: (503, "too many questions are waiting"),
    StoreUnavailable: (503, "the database is unavailable"),
    StorageUnavailable: (503, "the object store is unavailable"),
    NotFound: (404, "not in the object store"),
    StorageError: (502, "the object store refused"),
}
"""Errors of what the service works with: the status and the words before the error's own."""


_HEADINGS = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Not found",
    408: "Too slow",
    413: "Too large",
    429: "Too many requests",
    500: "Internal error",
    502: "Not available now",
    503: "Not available now",
}
"""The headings of pages about errors, by status."""


def shown(
    page: Render, headers: Headers, path: str, status: int, listed: Sequence[Fault]
) -> Response:
    """A page for who looks at pages, JSON for programs."""
    if path.startswith("/api/") or "text/html" not in headers.get("accept", ""):
        return answer(status, listed)
    heading = _HEADINGS.get(status, "Not done")
    named = {"heading": heading, "status_code": status, "faults": list(listed)}
    response = page("refused.html", status, **named)
    response.headers.update(_retry(status))
    return response


def install(app: FastAPI, page: Render) -> None:
    """Give every error its status and faults."""

    def refused(request: Request, status: int, *listed: Fault) -> Response:
        return shown(page, request.headers, request.url.path, status, listed)

    _of_requests(app, refused)

    @app.exception_handler(Refusal)
    def _refused(request: Request, error: Refusal) -> Response:
        return refused(request, error.status, *error.faults)

    @app.exception_handler(HealerRefused)
    def _healer_refused(request: Request, error: HealerRefused) -> Response:
        return refused(request, 422, *(Fault(field="", problem=text) for text in error.faults))

    def other(request: Request, error: Exception) -> Response:
        status, text = next(_OF_OTHERS[kind] for kind in type(error).__mro__ if kind in _OF_OTHERS)
        return refused(request, status, Fault(field="", problem=f"{text}: {error}"))

    for kind in _OF_OTHERS:
        app.add_exception_handler(kind, other)


def _of_requests(app: FastAPI, refused: Callable[..., Response]) -> None:
    """Answer requests that no route takes, or not as they are."""

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return refused(request, 422, *faults(error.errors()))

    @app.exception_handler(ValidationError)
    def _invalid_message(request: Request, error: ValidationError) -> Response:
        return refused(request, 422, *faults(error.errors(include_url=False)))

    @app.exception_handler(StarletteHTTPException)
    def _http(request: Request, error: StarletteHTTPException) -> Response:
        text = str(error.detail)
        if error.status_code == HTTPStatus.NOT_FOUND:
            text = f"there is nothing at {request.url.path}"
        response = refused(request, error.status_code, Fault(field="", problem=text))
        response.headers.update(error.headers or {})
        return response


def _retry(status: int) -> dict[str, str]:
    return {"Retry-After": "5"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
