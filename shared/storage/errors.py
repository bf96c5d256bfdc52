"""Failures of an object store."""

from http import HTTPStatus

from shared.unavailable import Unavailable


class StorageError(Exception):
    """Base of everything this package raises."""


class NotFound(StorageError):
    """There is no such object or bucket."""


class AlreadyExists(StorageError):
    """The object was to be written only if absent, and it is there."""


class AccessDenied(StorageError):
    """The store refuses these credentials, or this act with them."""


class TooLarge(StorageError):
    """The object is larger than one that may be put there."""


class Incomplete(StorageError):
    """An upload is not as large as it was said to be."""


class StorageUnavailable(StorageError, Unavailable):
    """The store does not answer or is overloaded; a later attempt may succeed."""


def is_passing(status: int) -> bool:
    """Return whether an HTTP status means a temporary state of the store, not a bad request."""
    waits = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    return status in waits or status >= HTTPStatus.INTERNAL_SERVER_ERROR
