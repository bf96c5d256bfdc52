"""The body of a request, read within bounds before any route sees it."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from shared.visible import encodable

MAX_BYTES = 4 * 2**20
"""A job with all arguments and variables that its contract allows needs about half of it."""
MAX_BYTES_OF_A_FORM = 32 * 2**10
WITHIN_S = 30.0
_MAX_DEPTH = 64
_MAX_VALUES = 100_000


class Refused(Exception):
    """The request is refused with this HTTP ``status``."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status, self.problem = status, problem


async def read(headers: Headers, receive: Receive, most: int, within_s: float) -> bytes:
    """The whole body.

    Raises:
        Refused: when it is larger than ``most`` bytes, or has not come ``within_s`` seconds.
    """
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > most:
        raise Refused(413, f"at most {most} bytes are accepted")
    try:
        async with asyncio.timeout(within_s):
            return await _read(receive, most)
    except TimeoutError:
        raise Refused(408, f"the body did not come within {within_s:g} s") from None


async def _read(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body broke off")
        body += message.get("body", b"")
        if len(body) > most:
            raise Refused(413, f"at most {most} bytes are accepted")
        if not message.get("more_body", False):
            return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body which was read already, then what comes after it."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def fault_of_json(body: bytes, most_values: int = _MAX_VALUES) -> str:
    """Return why a JSON body cannot be passed on to messages and databases; '' when it can.

    What is no JSON at all is for the routes to refuse.
    """
    try:
        value = json.loads(body)
    except RecursionError:
        return "nested too deeply"
    except ValueError:
        return ""
    return _fault(value, most_values)


def _fault(root: Any, most_values: int) -> str:
    waiting, seen = [(root, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > _MAX_DEPTH:
            return "nested too deeply"
        if seen > most_values:
            return f"more than {most_values} values"
        if isinstance(value, str) and ("\x00" in value or not encodable(value)):
            return "a NUL character or half a surrogate pair cannot be passed on"
        if isinstance(value, float) and not math.isfinite(value):
            return "numbers must be finite"
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
    return ""
