"""Processes the batches of one partition; what fails is set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from shared.contracts import Message
from shared.messaging import ARROW, JSON, Bus, Outgoing, Reject, Unpublishable
from shared.messaging.crash_marks import MAX_CRASHES
from shared.observe import SET_ASIDE
from shared.service.context import PartitionWorker
from shared.service.offset_mark import OffsetMark
from shared.service.poison import Rows, Series, poisonous
from shared.topology import (
    dead_letter_name,
    own_queues_exchange,
    partition_queue,
    partitions_of,
)
from shared.unavailable import Unavailable

log = structlog.get_logger(__name__)

_MAX_LEFT_OUT = 10_000
"""The most failing series that are left out; more of them indicate a bug of ours, not of theirs."""
_MAX_REASON = 2_000
_MAX_SHOWN = 100_000


class OtherStateError(Exception):
    """The state before a batch is not available: the stream is read again up to it."""


class Batches:
    """The handling of one partition's batches.

    A batch that fails leaves the worker in a state that nobody knows. So the first time its
    exception goes to the caller, who restores the worker and reads the stream again; when the
    batch comes the second time, its series are tried apart from the state of just before it. Those
    that fail are dead-lettered, with partition, offset and reason, and left out from then on; the
    rest of the batch is processed as usual.
    """

    def __init__(self, bus: Bus, partition: int, make: Callable[[], PartitionWorker]) -> None:
        self._bus = bus
        self._partition = partition
        self._make = make
        self._mark = OffsetMark(bus.state_file(f"{partition_queue(partition)}.mark"))
        self._failed: dict[int, str] = {}
        self._given_up: dict[int, str] = {}
        self._left_out: set[Series] = set()

    def failed_before(self, offset: int) -> bool:
        """Return whether this batch is to be tried ``apart``."""
        return offset in self._failed

    def processed(self, worker: PartitionWorker, offset: int, body: bytes) -> list[Outgoing]:
        """The effects of a batch, or why it is set aside; raises what the worker raised."""
        deaths = self._mark.deaths(offset)
        if deaths >= MAX_CRASHES:
            reason = f"the process ended {deaths} times while it worked on this batch"
            return [self._aside(offset, body, reason)]
        if offset in self._given_up:
            return [self._aside(offset, body, self._given_up[offset])]
        try:
            with self._mark.working_on(offset):
                produced = self._produced(worker, offset, body)
        except Unavailable:
            raise
        except Reject as error:
            return [self._aside(offset, body, error.reason)]
        except Exception as error:
            self._failed[offset] = f"{type(error).__name__}: {error}"
            raise
        self._mark.forget(offset)
        return produced

    def apart(
        self, worker: PartitionWorker, before: int | None, offset: int, body: bytes
    ) -> tuple[PartitionWorker, list[Outgoing]]:
        """The worker after those series of a failed batch that can be worked on, and what follows.

        Args:
            worker: in the state before this batch.
            before: offset of the batch before it.
            offset: of this batch.
            body: the batch.
        """
        reason = self._failed.pop(offset)
        if before is not None:
            worker.snapshot(before)
        try:
            rows = Rows(body)
            bad = poisonous(rows.series, lambda some: self._fails(before, offset, rows.only(some)))
            if bad is not None and len(bad) < len(rows.series):
                fresh, produced = self._trial(before, offset, rows.without(bad))
                if produced is not None:
                    return fresh, [*produced, *self._series_aside(offset, rows, bad, reason)]
                fresh.close()
            return self._restored(before), [self._aside(offset, body, reason)]
        except (ValueError, OtherStateError):
            # It is set aside as a whole when the stream has been read again up to it.
            self._given_up[offset] = reason
            raise

    def _fails(self, before: int | None, offset: int, body: bytes) -> bool:
        worker, produced = self._trial(before, offset, body)
        worker.close()
        return produced is None

    def _trial(
        self, before: int | None, offset: int, body: bytes
    ) -> tuple[PartitionWorker, list[Outgoing] | None]:
        """A worker after ``body``, and what follows from it; None when that fails."""
        worker = self._restored(before)
        try:
            return worker, self._produced(worker, offset, body)
        except Unavailable:
            raise
        except Exception:
            log.info("batch_trial_failed", partition=self._partition, offset=offset, exc_info=True)
            return worker, None

    def _restored(self, before: int | None) -> PartitionWorker:
        worker = self._make()
        if worker.restore() != before:
            worker.close()
            raise OtherStateError
        return worker

    def _produced(self, worker: PartitionWorker, offset: int, body: bytes) -> list[Outgoing]:
        if self._left_out:
            body = self._without_left_out(body)
        return [self._prepared(offset, message) for message in worker.process(offset, body)]

    def _without_left_out(self, body: bytes) -> bytes:
        rows = Rows(body)
        if self._left_out.isdisjoint(rows.series):
            return body
        # A dead letter of this kind exists, but the series must not seem to be judged again.
        SET_ASIDE.labels(partitions_of(self._bus.principal)).inc()
        return rows.without(self._left_out)

    def _prepared(self, offset: int, message: Message) -> Outgoing:
        try:
            return self._bus.prepare(message)
        except Unpublishable as error:
            body = repr(message)[:_MAX_SHOWN].encode("utf-8", "backslashreplace")
            return self._aside(offset, body, str(error), JSON)

    def _series_aside(
        self, offset: int, rows: Rows, bad: Iterable[Series], reason: str
    ) -> list[Outgoing]:
        bad = set(bad)
        if not bad:
            return []
        if len(self._left_out) + len(bad) <= _MAX_LEFT_OUT:
            self._left_out |= bad
        named = ", ".join(f"{host} {item}" for host, item, _ in sorted(bad)[:5])
        return [self._aside(offset, rows.only(bad), f"{named}: {reason}")]

    def _aside(self, offset: int, body: bytes, reason: str, kind: str = ARROW) -> Outgoing:
        """A dead letter of this principal's partitions."""
        principal = self._bus.principal
        exchange, queue = own_queues_exchange(principal), partitions_of(principal)
        log.error("batch_set_aside", partition=self._partition, offset=offset, reason=reason)
        SET_ASIDE.labels(queue).inc()
        headers = {
            "x-partition": self._partition,
            "x-offset": offset,
            "x-reason": reason[:_MAX_REASON],
            "x-attempts": 1,
            "x-dead-lettered-at": datetime.now(UTC).isoformat(),
        }
        message_id, key = f"{self._partition}-{offset}", dead_letter_name(queue)
        return Outgoing(exchange, key, body, message_id, headers, kind)
