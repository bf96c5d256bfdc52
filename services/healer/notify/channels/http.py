"""HTTP requests of channels: one request with a total time limit, and two kinds of failure.

What a person can mend at the other side (a login, an address that has moved, a service that is
configured again) is not the notice's fault: it waits. Only an answer about the body itself says
that this notice will never be taken.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import SecretStr

from services.healer.notify.channels.errors import (
    ChannelRefused,
    ChannelTooLarge,
    ChannelUnavailable,
)
from services.healer.notify.render.numbers import one_line

WHOLE_S = 20.0
"""The time limit of a whole request in seconds, however slowly the other side answers."""
_NEVER = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.LENGTH_REQUIRED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}
_TOO_LARGE = re.compile(r"too[ _-](large|long|big|many)|exceed|or fewer", re.IGNORECASE)
"""Slack, Discord and PagerDuty answer 400 to what 413 means."""
_ANSWER_READ = 4096
_ANSWER_SHOWN = 300


def post(
    url: SecretStr,
    body: Mapping[str, Any] | bytes,
    headers: Mapping[str, str],
    whole_s: float = WHOLE_S,
) -> None:
    """POST JSON; returns when the other side has taken it.

    Raises:
        ChannelUnavailable: no answer in time, or one that a person can mend.
        ChannelRefused: the other side will not take this body.
    """
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    address = _address(url)
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            # As with the address: what waits is sent once the configuration is fixed.
            raise ChannelUnavailable(f"the header {name!r} has more than printable ASCII in it")
    request = httpx.Request(
        "POST", address, headers={"User-Agent": "barograph", **headers}, **content
    )
    try:
        status, text, after = asyncio.run(_answer(request, whole_s))
    except TimeoutError as error:
        raise ChannelUnavailable(f"no whole answer within {whole_s:g} s") from error
    except (httpx.HTTPError, OSError, ExceptionGroup) as error:  # a port out of range is a group
        # The address may hold a token: only the kind of failure and its reason are reported.
        raise ChannelUnavailable(f"{type(error).__name__}: {error}") from error
    if httpx.codes.is_success(status):
        return
    if status in _NEVER:
        large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or _TOO_LARGE.search(text)
        raise (ChannelTooLarge if large else ChannelRefused)(f"{status} {text}")
    redirected = httpx.codes.is_redirect(status)
    moved = " the address has moved; configure the new one" if redirected else ""
    raise ChannelUnavailable(f"{status}{moved} {text}".rstrip(), after)


def _address(url: SecretStr) -> httpx.URL:
    try:
        address = httpx.URL(url.get_secret_value())
        _ = address.host  # a name that is none raises only when it is asked for
    except (httpx.InvalidURL, ValueError) as error:
        # Only its configuration can mend that, and then what waits is sent.
        raise ChannelUnavailable(f"the address is not usable: {error}") from error
    return address


async def _answer(request: httpx.Request, whole_s: float) -> tuple[int, str, float | None]:
    """Status, the answer's beginning, and how long the other side asks to wait (s)."""
    async with asyncio.timeout(whole_s), httpx.AsyncClient(timeout=whole_s) as client:
        answer = await client.send(request, stream=True)
        try:
            return answer.status_code, await _beginning(answer), _retry_after(answer)
        finally:
            await answer.aclose()


async def _beginning(answer: httpx.Response) -> str:
    if answer.is_success:
        return ""  # the status says it all, and a body may never end
    read = b""
    async for part in answer.aiter_raw(_ANSWER_READ):
        read += part
        if len(read) >= _ANSWER_READ:
            break
    return one_line(read.decode(errors="replace"), _ANSWER_SHOWN)


def _retry_after(answer: httpx.Response) -> float | None:
    """``Retry-After`` as seconds or as a date (RFC 9110); None where there is none to use."""
    text = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text else math.nan
        return None if math.isnan(seconds) else max(0.0, min(seconds, 86_400.0))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    try:
        wait_s = (at.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except OverflowError:  # its zone leads out of the calendar's last day
        wait_s = math.inf
    return max(0.0, min(wait_s, 86_400.0))
