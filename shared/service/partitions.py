"""Owning partitions of the sample streams: lock, restore, process, confirm, snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from shared.messaging import Bus, Delivery, Outgoing, QueueConsumer
from shared.messaging.envelope import PUBLISHED_MS
from shared.messaging.stream_head import StreamHead
from shared.observe import PARTITION_LAG, PARTITIONS_OWNED, SNAPSHOTS
from shared.service.batches import Batches
from shared.service.context import PartitionWorker
from shared.topology import partition_queue

log = structlog.get_logger(__name__)

_ONE_SNAPSHOT = threading.Lock()
_LEAST_WORK_PER_SNAPSHOT = 19
"""So many times as long as a snapshot took there is none: 5 % of the time at most."""


class PartitionOwner:
    """Works one partition whenever this replica holds its lock.

    The lock is an exclusive queue: the broker gives it to one connection and takes it back when
    that connection ends, however it ends. So at most one living replica owns a partition.

    A batch that cannot be worked on does not stop the partition. The state is restored and brought
    up to that batch; then its series are tried apart, those that fail are dead-lettered with
    partition, offset and reason, and the rest of the batch is worked on as ever.
    """

    def __init__(
        self,
        bus: Bus,
        partition: int,
        worker: Callable[[], PartitionWorker],
        snapshot_every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self.partition = partition
        self._make = worker
        self._every_s = snapshot_every_s
        self._clock = clock
        self._worker: PartitionWorker | None = None
        self._offset: int | None = None
        self._snapshot_offset: int | None = None
        self._next_snapshot = 0.0
        self._batches = Batches(bus, partition, worker)
        self._owned = False
        self._moved_at = clock()
        self._published_s: float | None = None
        self.head = StreamHead(partition_queue(partition))
        self.consumer = QueueConsumer(
            partition_queue(partition),
            self._handle,
            prefetch=50,
            batch=20,
            arguments=self._arguments,
            before=self._acquire,
            restart_on_failure=True,
        )

    @property
    def offset(self) -> int | None:
        """Offset of the last batch whose messages are confirmed."""
        return self._offset

    @property
    def behind(self) -> bool:
        """Whether this replica owns the partition and its stream goes on after what was read."""
        head, own = self.head.offset, self._offset
        return self._owned and head is not None and (own is None or head > own)

    @property
    def stalled_s(self) -> float:
        """For how long nothing was taken from the stream although there is something."""
        waits = not self.behind or bool(self.consumer.handling.outage)
        return 0.0 if waits else self._clock() - self._moved_at

    def show_lag(self) -> None:
        """Export how late this replica is, and look again where the stream ends."""
        lag = 0.0
        if self.behind:
            # Of what comes next only its turn will tell how old it is; at least so old it is.
            standing = self._clock() - self._moved_at
            known = 0.0 if self._published_s is None else time.time() - self._published_s
            lag = max(standing, known)
        PARTITION_LAG.labels(str(self.partition)).set(lag)
        if self._owned:
            self.head.ask()

    def _acquire(self, channel: Any, go: Callable[[], None]) -> None:
        # Until it has the lock, another replica works it.
        self._owned = False
        PARTITION_LAG.labels(str(self.partition)).set(0)
        lock = f"owner.{self._bus.principal}.{self.partition}"

        def acquired(_frame: object) -> None:
            self._owned, self._moved_at = True, self._clock()
            self.consumer.submit(lambda: self._restore(go))

        channel.queue_declare(lock, exclusive=True, auto_delete=True, callback=acquired)

    def _restore(self, go: Callable[[], None]) -> None:
        try:
            self._worker = self._make()
            self._offset = self._snapshot_offset = self._worker.restore()
        except Exception:
            # Runs in the pool: whatever a worker's restore raises must be seen and tried again.
            log.exception("restore_failed", partition=self.partition)
            link = self._bus.consuming_link
            link.call(
                lambda: link.later(5.0, lambda: self.consumer.submit(lambda: self._restore(go)))
            )
            return
        log.info("partition_acquired", partition=self.partition, offset=self._offset)
        self._next_snapshot = self._clock() + self._every_s
        self._bus.consuming_link.call(go)

    def _arguments(self) -> dict[str, Any]:
        return {"x-stream-offset": "first" if self._offset is None else self._offset + 1}

    def _handle(self, deliveries: Sequence[Delivery]) -> None:
        worker = self._worker
        if worker is None:
            return
        # Nothing of the state may be stored before what follows from it is confirmed.
        self._worker = None
        outgoing: list[Outgoing] = []
        newest = -1 if self._offset is None else self._offset
        for delivery in deliveries:
            offset = int(delivery.headers["x-stream-offset"])
            if offset <= newest:
                continue
            if self._batches.failed_before(offset):
                # It is tried with the state of just before it, which must be storable for that.
                self._settle(outgoing, newest)
                outgoing = []
                worker, apart = self._batches.apart(worker, self._offset, offset, delivery.body)
                outgoing += apart
            else:
                outgoing += self._batches.processed(worker, offset, delivery.body)
            newest = offset
        # One wait for the confirms of all. Should they not come, the worker is made anew from
        # its snapshot, and the batches come again.
        self._settle(outgoing, newest)
        self._worker = worker
        # Batches of an older gateway do not say when they were published.
        published = deliveries[-1].headers.get(PUBLISHED_MS)
        self._published_s = published / 1000 if isinstance(published, int) else None
        if self._clock() >= self._next_snapshot:
            self.snapshot()

    def _settle(self, outgoing: Sequence[Outgoing], newest: int) -> None:
        """All up to ``newest`` counts as done once what follows from it is confirmed."""
        if outgoing:
            self._bus.publish_prepared(outgoing)
        self._offset = newest if newest >= 0 else None
        self._moved_at = self._clock()

    def snapshot(self) -> None:
        """Store the state now, if it has changed; only from the consumer's pool or after it."""
        if self._worker is None or self._offset is None or self._offset == self._snapshot_offset:
            return
        begin = self._clock()
        # One partition at a time: a snapshot takes as much memory again as its state.
        with _ONE_SNAPSHOT:
            self._worker.snapshot(self._offset)
        self._snapshot_offset = self._offset
        now = self._clock()
        # A large state is stored less often: replaying a little more after a crash costs less
        # than standing still for every snapshot.
        self._next_snapshot = now + max(self._every_s, _LEAST_WORK_PER_SNAPSHOT * (now - begin))
        SNAPSHOTS.inc()


def show_owned(owners: Sequence[PartitionOwner]) -> None:
    """Export how many partitions this replica has, and how late it is with each."""
    PARTITIONS_OWNED.set(sum(owner.offset is not None for owner in owners))
    for owner in owners:
        owner.show_lag()
