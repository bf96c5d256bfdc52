"""Failures of a Kubernetes API server; the class of each says what to do about it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from shared.unavailable import Unavailable


class ClusterError(Exception):
    """Base of everything this package raises: a request the API server would not take.

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
    """No answer, or the server asks for patience; the same request may succeed later."""


class NotFound(ClusterError):
    """There is no such object, or no such kind of object."""


class Conflict(ClusterError):
    """It exists already, or was changed meanwhile."""


class Gone(ClusterError):
    """This point of the history is no longer kept: list again."""


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


def error_of(what: str, status: int, answer: dict[str, Any]) -> ClusterError:
    """The error an answer with this status and ``Status`` object stands for."""
    text = f"{what}: {answer.get('message') or HTTPStatus(status).phrase}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ClusterUnavailable(text, status)
    causes = (answer.get("details") or {}).get("causes") or []
    named = tuple((str(c.get("field", "")), str(c.get("message", ""))) for c in causes)
    return _CLASSES.get(status, ClusterError)(text, status, named)
