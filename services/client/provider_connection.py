"""Requests to the identity provider: few at a time, bounded in time and size."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from services.client.turns import TooManyError, Turns

_TIMEOUT_S, _AT_ONCE = 5.0, 4
_MAX_BYTES = 2**20


class ProviderUnavailable(Exception):
    """The identity provider does not answer, or its answer is invalid."""


class _Bounded(httpx.BaseTransport):
    """Accepts uncompressed answers up to a maximum size, whole within the time limit.

    A time limit for each read alone would let a server send a byte now and then for days.
    """

    def __init__(self, trusted: ssl.SSLContext, whole_s: float) -> None:
        self._trusted, self._whole_s = trusted, whole_s

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return asyncio.run(self._answer(request))
        except TimeoutError as error:
            text = f"no whole answer within {self._whole_s:g} s"
            raise httpx.ReadTimeout(text, request=request) from error

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(verify=self._trusted, trust_env=False)
        async with asyncio.timeout(self._whole_s), transport:
            answer = await transport.handle_async_request(request)
            try:
                data = await _body(answer)
            finally:
                await answer.aclose()
        return httpx.Response(answer.status_code, headers=answer.headers, content=data)


async def _body(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("it packs its answer, which was not asked for")
    data = bytearray()
    async for piece in answer.aiter_raw():
        data += piece
        if len(data) > _MAX_BYTES:
            raise httpx.DecodingError("it answers with too much")
    return bytes(data)


class ProviderConnection:
    """Limits connections, so that a provider that hangs does not occupy all threads."""

    def __init__(self, whole_s: float = _TIMEOUT_S) -> None:
        self._trusted, self._whole_s = ssl.create_default_context(), whole_s
        self._turns = Turns(_AT_ONCE)

    @contextmanager
    def opened(self) -> Iterator[httpx.Client]:
        """A client for the requests of one sign-in.

        Raises:
            ProviderUnavailable: when too many others wait for the provider.
        """
        try:
            with (
                self._turns.one(),
                httpx.Client(
                    timeout=self._whole_s,
                    trust_env=False,
                    transport=_Bounded(self._trusted, self._whole_s),
                    headers={"Accept-Encoding": "identity"},
                ) as http,
            ):
                yield http
        except TooManyError:
            raise ProviderUnavailable("it is slow, and too many sign-ins wait for it") from None

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
