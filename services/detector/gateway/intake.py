"""Turns request bodies into confirmed samples; waiting requests are published together.

Requests that come while others are being read or confirmed wait together and become one group:
one message a partition, one wait for all confirms. So batches grow with the load by themselves,
and a lone request waits for nobody. Two groups are under way at most: while the broker stores
one, the next is read.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import structlog
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from services.detector.gateway.compiling import compile_reader
from services.detector.gateway.ingest import Ingest
from services.detector.gateway.known import Limits
from services.detector.gateway.otlp import Otlp, parsed, translated, unpacked
from services.detector.gateway.otlp_totals import Totals
from services.detector.gateway.remote_write import Message, Received, Receiver, decompress
from services.detector.settings import Settings, series_that_fit
from shared import traces
from shared.messaging import BrokerUnavailable, MessagingError
from shared.observe import SAMPLES
from shared.samples import InvalidBatch

log = structlog.get_logger(__name__)

_GROUPS = 2
_GROUP_BYTES = 2_000_000
"""Compressed, in one group: some tens of thousands of samples."""


@dataclass(eq=False)
class _Waiting:
    body: bytes
    encoding: str
    message: Message | Otlp
    sender: str
    done: asyncio.Future[Received]
    traceparent: str
    received: Received = field(default_factory=Received)
    error: Exception | None = None


class Intake:
    """Accepts all requests; ``take`` runs in the server's event loop.

    ``away`` says why nothing can be published now: then what waits is answered, not kept.
    """

    def __init__(
        self, settings: Settings, ingest: Ingest, away: Callable[[], str] = lambda: ""
    ) -> None:
        self._away = away
        self._raw_bytes = settings.gateway_raw_bytes
        self._ingest = ingest
        limits = Limits(
            settings.gateway_series or series_that_fit(),
            settings.gateway_host_series,
            settings.gateway_forget_s,
            settings.gateway_machine_label,
        )
        self._receiver = Receiver(
            settings.gateway_ignore, ingest.partition_of, limits, senders=ingest.senders
        )
        compile_reader(self._receiver.known)
        self._totals = Totals(limits.series)
        self._reading = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._groups: set[asyncio.Task[None]] = set()

    async def take(
        self, body: bytes, encoding: str, message: Message | Otlp, sender: str = ""
    ) -> Received:
        """Return when the broker has every sample that is good.

        Raises InvalidBatch when nothing of the request can be used, MessagingError when the
        broker did not confirm.
        """
        done: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(body, encoding, message, sender, done, traces.current()))
        if len(self._groups) < _GROUPS:
            group = asyncio.create_task(self._work())
            self._groups.add(group)
            group.add_done_callback(self._groups.discard)
        return await done

    async def _work(self) -> None:
        while self._waiting:
            group = self._next_group()
            if why := self._away():
                for request in group:
                    request.error = BrokerUnavailable(why)
            else:
                await run_in_threadpool(self._settle, group)
            for request in group:
                # A sender that has gone waits no more.
                if request.done.done():
                    continue
                if request.error is not None:
                    request.done.set_exception(request.error)
                else:
                    request.done.set_result(request.received)

    def _next_group(self) -> list[_Waiting]:
        group = [self._waiting.popleft()]
        size = len(group[0].body)
        while self._waiting and size + len(self._waiting[0].body) <= _GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1].body)
        return group

    def _settle(self, group: Sequence[_Waiting]) -> None:
        """Read the requests, publish what is good in them; in a thread.

        What nobody foresaw in one request costs that request alone, and is refused: an answer
        that asks to send it again would bring it again forever.
        """
        try:
            with self._reading:
                for request in group:
                    self._read(request)
                batches = self._receiver.batches()
            # Requests that are published together belong to the trace of the first one.
            with traces.within(group[0].traceparent):
                self._ingest.publish_parts(batches)
        except MessagingError as error:
            self._receiver.tell_senders_again()
            for request in group:
                if request.received.taken:
                    request.error = request.error or error
        except Exception:
            log.exception("requests_not_stored", requests=len(group))
            if len(group) > 1:
                for request in group:
                    self._settle([request])
                return
            group[0].error = InvalidBatch(["the gateway could not store this; its log says why"])
        for request in group:
            if request.error is None:
                SAMPLES.labels("received").inc(request.received.taken)

    def _read(self, request: _Waiting) -> None:
        try:
            if isinstance(request.message, Otlp):
                self._read_otlp(request, request.message)
                return
            data = decompress(request.body, request.encoding, self._raw_bytes)
            request.received = self._received(data, request.message, request.sender)
        except InvalidBatch as error:
            request.error = error
        except Exception:
            log.exception("request_not_read", bytes=len(request.body))
            request.error = InvalidBatch(["the gateway could not read this; its log says why"])

    def _read_otlp(self, request: _Waiting, encoded: Otlp) -> None:
        data = unpacked(request.body, request.encoding, self._raw_bytes)
        latest = self._ingest.now_ms() + self._ingest.ahead_ms
        translation = translated(parsed(data, encoded), self._totals, self._raw_bytes, latest)
        received = self._received(
            np.frombuffer(translation.body, dtype=np.uint8), Message.V1, request.sender
        )
        received.refused = (
            translation.samples - received.taken - received.ignored + translation.refused
        )
        received.add(translation.faults)
        request.received = received

    def _received(self, data: NDArray[np.uint8], message: Message, sender: str) -> Received:
        now, ahead = self._ingest.now_ms(), self._ingest.ahead_ms
        return self._receiver.read(data, message, now, ahead, sender)
