"""The part of a partition worker that is the same for every engine: snapshots and reading."""

from __future__ import annotations

from abc import ABC, abstractmethod

import structlog

from shared.columns import Array
from shared.messaging.errors import Reject
from shared.observe import SAMPLES
from shared.samples import InvalidBatch, SampleBatch, decode
from shared.snapshots import SnapshotStore, restored
from shared.storage import StorageError

log = structlog.get_logger(__name__)


class SnapshotWorker(ABC):
    """Restores and stores one partition's state; see ``shared.service.PartitionWorker``."""

    def __init__(self, partition: int, store: SnapshotStore) -> None:
        self._partition = partition
        self._store = store

    @abstractmethod
    def _load(self, arrays: dict[str, Array] | None) -> None:
        """Replace the state by a snapshot's, or by an empty one for None; or raise, unchanged."""

    @abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """The state, as a snapshot stores it."""

    def restore(self) -> int | None:
        """Load the newest snapshot that is whole and fits; None if there is none."""
        found = restored(self._store, self._partition, self._load)
        if found is None:
            self._load(None)
            return None
        return found[0]

    def begin_again(self) -> None:
        """See ``PartitionWorker``."""
        self._store.begin_again()

    def snapshot(self, offset: int) -> None:
        """Store state and offset as one; a store that fails is logged and tried again.

        The work continues meanwhile: the snapshot before still serves.
        """
        try:
            self._store.write(offset, self._arrays())
        except (StorageError, OSError) as error:
            log.warning("snapshot_failed", partition=self._partition, reason=str(error))


def batch_read(offset: int, batch: bytes) -> SampleBatch:
    """The samples of a partition's Arrow batch.

    Raises:
        Reject: if it cannot be read. The gateway checks every batch, so this one came from
            elsewhere; it must not stop the partition.
    """
    try:
        return decode(batch, trusted=True)
    except InvalidBatch as error:
        SAMPLES.labels("refused").inc()
        raise Reject(f"batch {offset} cannot be read: {error}") from error
