"""Owns a partition of the sample streams: lock, restore, process, confirm, snapshot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from enum import Enum, auto
from typing import Any, TypeVar

import structlog

from shared.loading import keep_what_is_loaded
from shared.messaging import BrokerUnavailable, Bus, Delivery, Outgoing, QueueConsumer
from shared.messaging.envelope import PUBLISHED_MS
from shared.messaging.stream_head import StreamHead
from shared.observe import PARTITION_LAG, SNAPSHOTS
from shared.offsets import BEFORE_THE_FIRST
from shared.service import spans
from shared.service.batches import Batches
from shared.service.context import PartitionWorker
from shared.topology import partition_queue

log = structlog.get_logger(__name__)

T = TypeVar("T")
_ONE_SNAPSHOT = threading.Lock()
_MIN_WORK_PER_SNAPSHOT = 19
"""A pause of this many times a snapshot's duration follows it, so that it takes 5 % of the time."""


class Stage(Enum):
    """A replica's relation to one partition."""

    IDLE = auto()
    ACQUIRING = auto()
    """The replica asks for the partition's lock."""
    OWNING = auto()
    RELEASING = auto()
    """The replica finishes its current batch, and holds the lock until that is done."""


class PartitionOwner:
    """Works one partition whenever this replica holds its lock.

    The lock is an exclusive queue: the broker gives it to one connection and takes it back when
    that connection ends, however it ends. So at most one living replica owns a partition. The lock
    is requested after ``take`` and released after ``give_up``, once the current batch is finished,
    confirmed and contained in a snapshot.

    A batch that fails does not stop the partition. The state is restored and brought up to that
    batch; then its series are tried separately, those that fail are dead-lettered with partition,
    offset and reason, and the rest of the batch is processed as usual.
    """

    def __init__(
        self,
        bus: Bus,
        partition: int,
        worker: Callable[[], PartitionWorker],
        snapshot_every_s: float,
        clock: Callable[[], float] = time.monotonic,
        pool: Executor | None = None,
    ) -> None:
        self._bus = bus
        self._link = bus.consuming_link
        self.partition = partition
        self._make = worker
        self._every_s = snapshot_every_s
        self._clock = clock
        self._worker: PartitionWorker | None = None
        self._offset: int | None = None
        self._snapshot_offset: int | None = None
        self._next_snapshot = 0.0
        self._batches = Batches(bus, partition, worker)
        self._made: PartitionWorker | None = None
        self._stage = Stage.IDLE
        self._wanted = False
        self._tenure = 0
        self._lock = f"owner.{bus.principal}.{partition}"
        self.changed: Callable[[], None] = lambda: None
        """Called in the link's thread when the lock was acquired or released."""
        self.restore_error = ""
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
            suspended=True,
            pool=pool,
        )

    @property
    def idle(self) -> bool:
        """True if this replica neither holds the lock nor requests it."""
        return self._stage is Stage.IDLE

    @property
    def owned(self) -> bool:
        """True if this replica holds the lock."""
        return self._stage in (Stage.OWNING, Stage.RELEASING)

    @property
    def offset(self) -> int | None:
        """Offset of the last batch whose messages are confirmed."""
        return self._offset

    @property
    def behind(self) -> bool:
        """True if this replica owns the partition and has not read its stream to the end."""
        head, own = self.head.offset, self._offset
        return self.owned and head is not None and (own is None or head > own)

    @property
    def stalled_s(self) -> float:
        """Return how long nothing has been read from the stream although there is more."""
        waits = not self.behind or bool(self.consumer.handling.outage)
        return 0.0 if waits else self._clock() - self._moved_at

    def look(self, question: Callable[[PartitionWorker], T]) -> Future[T | None]:
        """The answer to ``question`` between two batches; None where another replica has it."""
        return self.consumer.submit(
            lambda: None if self._worker is None else question(self._worker)
        )

    def show_lag(self) -> None:
        """Export this replica's lag, and ask again where the stream ends."""
        lag = 0.0
        if self.behind:
            # The age of the next batch is known only when it is read; it is at least this old.
            standing = self._clock() - self._moved_at
            known = 0.0 if self._published_s is None else time.time() - self._published_s
            lag = max(standing, known)
        PARTITION_LAG.labels(str(self.partition)).set(lag)
        if self.owned:
            self.head.ask()

    def take(self) -> None:
        """Request the lock until it is granted; only from the link's thread."""
        self._wanted = True
        if self.idle:
            self._stage = Stage.ACQUIRING
            self.consumer.resume()

    def give_up(self) -> None:
        """Finish the current batch, store the state, release the lock; from the link's thread."""
        self._wanted = False
        if self._stage is Stage.OWNING:
            self._release()

    def lost(self) -> None:
        """The connection is gone, and with it the lock; only from the link's thread."""
        self._wanted = False
        self._stage = Stage.IDLE
        self._tenure += 1
        # Its channel belonged to that connection: there is nothing to be closed.
        self.consumer.disconnected()
        self.consumer.suspend()

    def _acquire(self, channel: Any, go: Callable[[], None]) -> None:
        # Another replica works the partition until this one has the lock.
        self._stage = Stage.ACQUIRING
        PARTITION_LAG.labels(str(self.partition)).set(0)
        if not self._wanted:
            self._release()
            return

        def acquired(_frame: object) -> None:
            self._stage, self._moved_at = Stage.OWNING, self._clock()
            self._tenure += 1
            tenure = self._tenure
            if self._wanted:
                self.consumer.submit(lambda: self._restore(go, tenure))
                self.changed()
            else:
                self._release()

        channel.queue_declare(self._lock, exclusive=True, auto_delete=True, callback=acquired)

    def _release(self) -> None:
        self._stage = Stage.RELEASING
        self.consumer.suspend()
        tenure = self._tenure
        self.consumer.submit(lambda: self._finish(tenure))

    def _finish(self, tenure: int) -> None:
        """In the pool, after the current batch: store the state, then let the next owner begin."""
        try:
            if tenure == self._tenure:
                self.snapshot()
        except Exception:
            # The one before still serves: the next owner continues from there.
            log.exception("snapshot_failed", partition=self.partition)
        self._worker = self._offset = self._snapshot_offset = None
        self._retire()
        self._link.call(lambda: self._unlock(tenure))

    def _unlock(self, tenure: int) -> None:
        def done(*_: object) -> None:
            if tenure == self._tenure and self._stage is Stage.RELEASING:
                self._stage = Stage.IDLE
                log.info("partition_released", partition=self.partition)
                self.changed()

        def delete(channel: Any) -> None:
            # The broker refuses it if another replica holds the lock; then it is not ours.
            channel.add_on_close_callback(done)
            channel.queue_delete(self._lock, callback=lambda _: channel.close())

        if tenure == self._tenure:
            self._link.open_channel(delete)

    def _retire(self) -> None:
        self.consumer.handling.outage = ""
        made, self._made = self._made, None
        try:
            if made is not None:
                made.close()
        except Exception:
            # Some of its metrics may stay; the lock must not.
            log.exception("worker_not_closed", partition=self.partition)

    def _restore(self, go: Callable[[], None], tenure: int) -> None:
        if tenure != self._tenure:
            return
        try:
            self._retire()
            self._worker = self._made = self._make()
            self._offset = self._snapshot_offset = self._followed(self._worker)
        except Exception as error:
            # Runs in the pool: whatever a worker's restore raises must be logged and tried again.
            log.exception("restore_failed", partition=self.partition)
            self._worker, self.restore_error = None, f"{type(error).__name__}: {error}"[:300]
            self._link.call(lambda: self._link.later(5.0, lambda: self._restore_again(go, tenure)))
            return
        self.restore_error = ""
        keep_what_is_loaded()
        log.info("partition_acquired", partition=self.partition, offset=self._offset)
        self._next_snapshot = self._clock() + self._every_s
        self._link.call(go)

    def _followed(self, worker: PartitionWorker) -> int | None:
        """Restore a worker; the offset after which its stream goes on, None for its first batch.

        Raises:
            BrokerUnavailable: the broker has not told where the stream ends; it is tried again.
        """
        offset = worker.restore()
        if offset is None or offset < 0:
            return offset
        reaches = self._bus.stream_reaches(self.partition, offset)
        if reaches is None:
            raise BrokerUnavailable(f"the broker has not told where {self.head.stream} ends")
        if reaches:
            return offset
        # The broker lost its data, or a backup was restored beside a new one. Waiting for the
        # offset to be reached would skip all batches until then.
        log.warning("stream_begins_again", partition=self.partition, offset=offset)
        worker.begin_again()
        worker.snapshot(BEFORE_THE_FIRST)
        return BEFORE_THE_FIRST

    def _restore_again(self, go: Callable[[], None], tenure: int) -> None:
        if self._stage is Stage.OWNING:
            self.consumer.submit(lambda: self._restore(go, tenure))

    def _arguments(self) -> dict[str, Any]:
        return {"x-stream-offset": "first" if self._offset is None else self._offset + 1}

    def _handle(self, deliveries: Sequence[Delivery]) -> None:
        worker = self._worker
        if worker is None:
            return
        # Nothing of the state may be stored before what follows from it is confirmed.
        self._worker, tenure = None, self._tenure
        outgoing: list[Outgoing] = []
        newest = -1 if self._offset is None else self._offset
        for delivery in deliveries:
            offset = int(delivery.headers["x-stream-offset"])
            if offset <= newest:
                continue
            if self._batches.failed_before(offset):
                # It is tried with the state of just before it, which must be storable for that.
                if not self._settle(outgoing, newest, tenure):
                    return
                outgoing = []
                worker, apart = self._batches.apart(worker, self._offset, offset, delivery.body)
                # Its metrics are those of the one before, which must not count as well.
                self._retire()
                self._made = worker
                outgoing += apart
            else:
                with spans.batch(delivery, offset):
                    outgoing += self._batches.processed(worker, offset, delivery.body)
            newest = offset
        # One wait for the confirms of all. Should they not come, the worker is made again from
        # its snapshot, and the batches come again.
        if not self._settle(outgoing, newest, tenure):
            return
        self._worker = worker
        # Batches of an older gateway do not say when they were published.
        published = deliveries[-1].headers.get(PUBLISHED_MS)
        self._published_s = published / 1000 if isinstance(published, int) else None
        if self._clock() >= self._next_snapshot:
            self.snapshot()

    def _settle(self, outgoing: Sequence[Outgoing], newest: int, tenure: int) -> bool:
        """All up to ``newest`` counts as done once what follows from it is confirmed.

        False if the lock was lost in the meantime: another replica publishes the consequences.
        """
        if tenure != self._tenure:
            return False
        if outgoing:
            self._bus.publish_prepared(outgoing)
        self._offset = newest if newest >= 0 else None
        self._moved_at = self._clock()
        return True

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
        # than pausing for every snapshot.
        self._next_snapshot = now + max(self._every_s, _MIN_WORK_PER_SNAPSHOT * (now - begin))
        SNAPSHOTS.inc()
