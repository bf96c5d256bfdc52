"""Transfers of packages and results to and from the object store, over links that break."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import httpx

from shared.client.connection import PAUSES_S, trusted
from shared.client.errors import RefusedError, UnreachableError

T = TypeVar("T")
_UNUSABLE = (httpx.HTTPError, httpx.InvalidURL, ValueError, OverflowError)
"""The errors of invalid addresses from a server: bad hosts, ports out of range."""
_PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_TRIED_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class _PassingError(Exception):
    """The other side asked to be asked later."""


def _patiently(attempt: Callable[[], T]) -> T:
    """Return what ``attempt`` gives; after a break or an answer of overload it is made again.

    Raises:
        _PassingError, httpx.HTTPError: when the last one failed, too.
    """
    for pause in PAUSES_S:
        try:
            return attempt()
        except (_PassingError, *_PASSING):
            time.sleep(pause)
    return attempt()


def _stored(answer: httpx.Response, what: str) -> None:
    """Raise what an object store's answer says."""
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code in _TRIED_AGAIN:
        raise _PassingError(f"the object store answers {answer.status_code}")
    if not answer.is_success:
        text = f"the object store refused {what}: {answer.status_code} {answer.reason_phrase}"
        raise RefusedError(text)


def put_part(url: str, part: bytes) -> None:
    """Send a part of an upload to the object store, which our token is not for."""

    def attempt() -> None:
        answer = httpx.put(url, content=part, timeout=300, trust_env=False, verify=trusted(url))
        _stored(answer, "a part")

    try:
        _patiently(attempt)
    except (_PassingError, *_UNUSABLE) as error:
        text = f"upload interrupted, the same command continues it: {error}"
        raise UnreachableError(text) from error


class _Download:
    """A file of the object store; what has come of it stays when the connection breaks."""

    def __init__(self, url: str, target: Path, most: int) -> None:
        self._url, self._target, self._most = url, target, most
        self.size, self.digest = 0, hashlib.sha256()

    def attempt(self) -> None:
        """Fetch the rest of it."""
        if 0 < self._most <= self.size:
            return  # it broke off behind the last byte
        asked = {"Range": f"bytes={self.size}-"} if self.size else {}
        with httpx.stream(
            "GET",
            self._url,
            headers=asked,
            timeout=60,
            trust_env=False,
            verify=trusted(self._url),
        ) as answer:
            _stored(answer, self._target.name)
            if not answer.headers.get("content-range", "").startswith(f"bytes {self.size}-"):
                self.size, self.digest = 0, hashlib.sha256()
            self._write(answer)

    def _write(self, answer: httpx.Response) -> None:
        with self._target.open("ab" if self.size else "wb") as file:
            for piece in answer.iter_raw():
                file.write(piece)
                self.digest.update(piece)
                self.size += len(piece)
                if self.size > self._most:
                    break


def fetch(url: str, target: Path, most: int) -> tuple[int, str]:
    """Write what the object store has at ``url``, which our token is not for; size and SHA-256.

    It ends once there is more than ``most`` bytes, which the file is said to have.
    """
    download = _Download(url, target, most)
    try:
        _patiently(download.attempt)
    except (_PassingError, *_UNUSABLE) as error:
        raise UnreachableError(f"{target.name} was not fetched whole: {error}") from error
    return download.size, download.digest.hexdigest()
