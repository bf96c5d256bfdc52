"""Failures of a Kubernetes API server; the class of each says what to do about it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from shared.unavailable import Unavailable


class ClusterError(Exception):
    """Base of the errors of this package: the API server refused a request.

    Args:
        status: the HTTP status, 0 when there was no answer.
        causes: for an invalid object, each faulty field with its problem.
    """

    def __init__(
        self, text: str, status: int = 0, causes: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(text)
        self.status, self.causes = status, causes


class ClusterUnavailable(ClusterError, Unavailable):
    """The server does not answer or asks to retry; a later attempt may succeed."""


class NotFound(ClusterError):
    """There is no such object, or no such kind of object."""


class Conflict(ClusterError):
    """The object exists already, or was changed in the meantime."""


class Gone(ClusterError):
    """The server no longer keeps the history from the given point on: list again."""


class Forbidden(ClusterError):
    """RBAC, a quota or an admission plugin refuses it; the text says which."""


class Invalid(ClusterError):
    """The object is not valid; ``causes`` names every fault."""


_CLASSES: dict[int, type[ClusterError]] = {
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: ClusterUnavailable,
}


def _phrase(status: int) -> str:
    """A status in words; proxies before the server have some of their own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"


def error_of(what: str, status: int, answer: dict[str, Any]) -> ClusterError:
    """The error an answer with this status and ``Status`` object stands for."""
    text = f"{what}: {answer.get('message') or _phrase(status)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ClusterUnavailable(text, status)
    causes = (answer.get("details") or {}).get("causes") or []
    named = tuple((str(c.get("field", "")), str(c.get("message", ""))) for c in causes)
    return _CLASSES.get(status, ClusterError)(text, status, named)
