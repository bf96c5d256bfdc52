"""Answers that last: a followed log, a large download. They end with the rights of their caller."""

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Message, Send

from services.client.access import Caller
from services.client.callers import Callers, NoRights, Presented
from services.client.proxy import AmbiguousHeaderError
from shared.store import StoreUnavailable

LOOKED_AFTER_S = 10.0
"""A caller's rights are looked up again when an answer has lasted for this long."""
log = structlog.get_logger(__name__)


class Lasting:
    """The caller of one request, who is identified again while the answer lasts."""

    def __init__(self, callers: Callers, given: Presented, caller: Caller) -> None:
        self._callers, self._given, self._caller = callers, given, caller
        self._looked_at = time.monotonic()
        self._has_length = False

    def until_rights_end(self, send: Send, answering: anyio.CancelScope) -> Send:
        """Send parts of an answer for as long as its caller has the rights they began with."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._has_length = "content-length" in Headers(raw=message["headers"])
            elif message.get("more_body") and not await self._has_rights():
                log.info("answer_ended_with_rights", name=self._caller.name)
                if not self._has_length:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                answering.cancel()
                await anyio.lowlevel.checkpoint()
            await send(message)

        return sending

    async def _has_rights(self) -> bool:
        if time.monotonic() - self._looked_at < LOOKED_AFTER_S:
            return True
        try:
            caller, _ = await run_in_threadpool(self._callers.of, self._given)
        except StoreUnavailable:
            return True  # an outage ends no answer; the next part looks again
        except (NoRights, AmbiguousHeaderError):
            return False
        self._looked_at = time.monotonic()
        return caller == self._caller
