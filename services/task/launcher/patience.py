"""Waits for an unavailable object store, so that an outage loses or restarts nothing."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from shared.storage import AccessDenied, MemberStore, NotFound, StorageError, TooLarge

log = structlog.get_logger(__name__)

FETCHING_S = 120.0
"""The time for which a starting member waits for package, servers and the other members."""
_RETRY_S = 2.0
_REFUSALS = 3
"""The number of refusals after which a store's refusal is final."""


class RefusedError(StorageError):
    """The store answers and refuses this object."""


def put(store: MemberStore, bucket: str, key: str, data: bytes | Path, deadline: float) -> None:
    """Store an object, again and again until ``deadline`` on the monotonic clock.

    Raises:
        StorageError: TooLarge and RefusedError at once, others when the time is over.
    """
    refusals = 0
    while True:
        try:
            store.put(bucket, key, data)
        except TooLarge:
            raise
        except StorageError as error:
            if time.monotonic() >= deadline:
                raise
            # Its other kinds are about the store or our access to it, which people can mend.
            refusals += type(error) is StorageError
            if refusals == _REFUSALS:
                raise RefusedError(str(error)) from error
            log.warning("upload_postponed", key=key, error=str(error))
            time.sleep(_RETRY_S)
        else:
            return


def fetch(store: MemberStore, bucket: str, key: str, path: Path) -> None:
    """Download an object, again and again for ``FETCHING_S``.

    Raises:
        StorageError: NotFound and AccessDenied at once, others when the time is over.
    """
    deadline = time.monotonic() + FETCHING_S
    while True:
        try:
            store.fetch(bucket, key, path)
        except (NotFound, AccessDenied):
            raise
        except StorageError as error:
            if time.monotonic() >= deadline:
                raise
            log.warning("download_postponed", key=key, error=str(error))
            time.sleep(_RETRY_S)
        else:
            return
