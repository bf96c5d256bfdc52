"""Reads the samplers on schedule, buffers what cannot be sent, and publishes it in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

import structlog
from pydantic import ValidationError

from services.healer.agent.apart import Apart
from services.healer.agent.samplers import Reading, Sampler
from shared.contracts import Message, MetricBatch
from shared.contracts.metrics import Sample
from shared.messaging import BrokerUnavailable, Unpublishable, Unroutable

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_TIMEOUT_S = 10.0
_HANGS_S = 60.0
"""A sampler that takes longer than even a large volume is left out until it has ended."""


class _Sender(Protocol):
    @property
    def ready(self) -> bool: ...
    def publish(self, messages: Sequence[Message], *, timeout_s: float) -> None: ...


class Publishing:
    """Carries samples from the samplers to the broker.

    ``tick`` and ``send`` are for two threads, so that a broker that keeps us waiting does not
    make a gap in the samples. Batches that were not confirmed are sent again: that does no harm.

    Args:
        host: whom the samples are about.
        interval_s: seconds between two readings.
        items: items wanted; empty: all.
        kept: batches kept while they cannot be sent; beyond that the oldest are given up.
    """

    def __init__(
        self,
        host: str,
        samplers: Sequence[Sampler],
        *,
        interval_s: float,
        items: Sequence[str] = (),
        kept: int = 360,
    ) -> None:
        self._host = host
        self._samplers = [s for s in samplers if not items or set(s.items) & set(items)]
        self._interval_s = interval_s
        self._items = set(items)
        self._waiting: deque[MetricBatch] = deque(maxlen=kept)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        # Soon, but not at once: rates need a span.
        self._next = self._began + min(interval_s, 1.0)
        self._failing: set[str] = set()
        self._apart = Apart()

    @property
    def waiting(self) -> int:
        """Batches not yet confirmed."""
        return len(self._waiting)

    def tick(self) -> bool:
        """Read everything if an interval is over; return whether there is something new to send."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next += self._interval_s
        if self._next <= now:
            # A machine that slept does not catch up on readings it has missed.
            self._next = now + self._interval_s
        samples = self.read(int(time.time() * 1000))
        if not samples:
            return False
        with self._lock:
            if len(self._waiting) == self._waiting.maxlen:
                log.warning("samples_given_up", oldest_ms=self._waiting[0].samples[0].time_ms)
            self._waiting.append(
                MetricBatch(
                    host=self._host, samples=tuple(samples), agent_age_s=round(now - self._began, 3)
                )
            )
        return True

    def read(self, time_ms: int) -> list[Sample]:
        """The samplers' values now; one that fails is named once and left out.

        So is a reading that is no sample, such as of a process whose name is no text.
        """
        samples = (
            self._sample(reading, time_ms)
            for sampler in self._samplers
            for reading in self._readings(sampler)
            if not self._items or reading.item in self._items
        )
        return [sample for sample in samples if sample is not None]

    def _sample(self, reading: Reading, time_ms: int) -> Sample | None:
        try:
            return Sample(
                item=reading.item,
                time_ms=time_ms,
                value=reading.value,
                labels=dict(reading.labels),
            )
        except ValidationError as error:
            if reading.item not in self._failing:
                self._failing.add(reading.item)
                log.warning("reading_left_out", item=reading.item, reason=str(error))
            return None

    def _readings(self, sampler: Sampler) -> list[Reading]:
        name = type(sampler).__name__
        try:
            readings = self._apart.call(name, sampler.sample, _HANGS_S)
        except Exception as error:  # noqa: BLE001 - a bad sampler must not cost others
            if name not in self._failing:
                self._failing.add(name)
                log.warning("sampler_failed", sampler=name, error=str(error))
            return []
        self._failing.discard(name)
        return readings

    def send(self, bus: _Sender) -> None:
        """Send what waits, oldest first; what is not confirmed stays."""
        while bus.ready:
            with self._lock:
                batches = list(islice(self._waiting, _AT_ONCE))
            if not batches:
                return
            try:
                bus.publish(batches, timeout_s=_TIMEOUT_S)
            except (BrokerUnavailable, Unroutable) as error:
                log.warning("samples_waiting", batches=self.waiting, error=str(error))
                return
            except Unpublishable as error:
                # The others are published; these would be as wrong the next time.
                log.warning("samples_given_up", reason=str(error))
            with self._lock:
                # The oldest batch may have been dropped in the meantime.
                while self._waiting and self._waiting[0] in batches:
                    self._waiting.popleft()
