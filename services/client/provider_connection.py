"""Requests to the identity provider: few at a time, bounded in time and size."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

_TIMEOUT_S, _AT_ONCE, _MAX_WAIT_S = 5.0, 4, 1.0
_MAX_BYTES = 2**20


class ProviderUnavailable(Exception):
    """The identity provider does not answer, or its answer is invalid."""


class _Bounded(httpx.HTTPTransport):
    """Accepts uncompressed answers up to a maximum size."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if answer.headers.get("content-encoding", "identity") != "identity":
            answer.close()
            raise httpx.DecodingError("it packs its answer, which was not asked for")
        data = bytearray()
        for piece in answer.iter_raw():
            data += piece
            if len(data) > _MAX_BYTES:
                answer.close()
                raise httpx.DecodingError("it answers with too much")
        answer.close()
        return httpx.Response(answer.status_code, headers=answer.headers, content=bytes(data))


class ProviderConnection:
    """Limits connections, so that a provider that hangs does not occupy all threads."""

    def __init__(self) -> None:
        self._trusted = ssl.create_default_context()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    @contextmanager
    def opened(self) -> Iterator[httpx.Client]:
        """A client for the requests of one sign-in.

        Raises:
            ProviderUnavailable: when too many others wait for the provider.
        """
        if not self._turns.acquire(timeout=_MAX_WAIT_S):
            raise ProviderUnavailable("it is slow, and too many sign-ins wait for it")
        try:
            with httpx.Client(
                timeout=_TIMEOUT_S,
                trust_env=False,
                transport=_Bounded(verify=self._trusted, trust_env=False),
                headers={"Accept-Encoding": "identity"},
            ) as http:
                yield http
        finally:
            self._turns.release()

    def json(self, address: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at an address of the provider.

        Raises:
            ProviderUnavailable: when it does not answer with one.
        """
        try:
            with self.opened() as http:
                found = http.get(address, headers=headers).raise_for_status().json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise ProviderUnavailable(f"{address} does not answer as it should: {error}") from error
        if not isinstance(found, dict):
            raise ProviderUnavailable(f"{address} does not answer as it should")
        return found
