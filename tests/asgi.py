"""Requests to an application in this process, all in one event loop that stays open.

To begin a loop and its threads anew for each request takes longer than most requests.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal


@cache
def _portal() -> BlockingPortal:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(start_blocking_portal())


def request(
    transport: httpx.ASGITransport, base_url: str, method: str, path: str, **options: Any
) -> httpx.Response:
    """Send one request, with no cookies of earlier ones."""

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as http:
            return await http.request(method, path, **options)

    return _portal().call(go)
