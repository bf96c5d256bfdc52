"""Snapshots of partitions as files or objects, written atomically and verified.

The last two of a partition are kept, and the earlier ones in which pieces of theirs lie
(``snapshot_format``). A damaged one is refused with the reason, and the one before is taken.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from shared.columns import Array
from shared.settings import ServiceSettings
from shared.snapshot_format import (
    Bytes,
    DamagedSnapshotError,
    Place,
    Written,
    earlier_of,
    pack,
    packed,
    unpack,
)
from shared.storage import NotFound, ObjectStore

__all__ = [
    "DamagedSnapshotError",
    "SnapshotBucket",
    "SnapshotDirectory",
    "SnapshotStore",
    "Stored",
    "pack",
    "restored",
    "snapshot_places",
    "snapshot_store",
    "unpack",
]

log = structlog.get_logger(__name__)

_T = TypeVar("_T")
_UNFIT = (ValueError, KeyError, TypeError, IndexError, MemoryError)
"""The errors of restoring state that was not written by this version."""
_KEPT = 2
_MAX_EARLIER = 8
"""A snapshot has pieces in so many earlier ones at most."""
_WORTH_KEEPING = 0.5
"""An earlier snapshot is kept for its pieces if they are this share of its bytes."""
_NAME = re.compile(r"(e\d{6}-)?-?\d{19,20}\.snapshot")
_COUNTED = re.compile(r"e(\d+)-")


@dataclass(frozen=True)
class Stored:
    """A snapshot that is kept, and what reads the earlier ones that it needs."""

    data: bytes
    store: _Store | None = None

    def unpack(self) -> tuple[int, dict[str, Array]]:
        """Offset and state; raises DamagedSnapshotError."""
        return unpack(self.data, None if self.store is None else self.store.read_earlier)


class SnapshotStore(Protocol):
    """The store of one partition's snapshots."""

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        """Keep the state; returns when it is durable. Older ones but one may go."""

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        """Return the snapshots by name, newest first."""

    def begin_again(self) -> None:
        """Make all later snapshots newer than the existing ones, whatever their offsets."""


class _Store(ABC):
    """The common part of files and objects.

    Names are in the order in which snapshots were written. Offsets grow as long as the stream is
    the same; with another one, whose offsets begin again, the number of streams before goes first.
    """

    def __init__(self) -> None:
        self._streams_before: int | None = None
        self._pieces: dict[bytes, Place] = {}
        self._sizes: dict[str, int] = {}
        self._needs: dict[str, frozenset[str]] = {}

    @abstractmethod
    def names(self) -> list[str]:
        """Names of what is kept, the newest first."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one of them; DamagedSnapshotError if it is not there."""

    def read_earlier(self, name: str) -> bytes:
        """The bytes of one that another one names, which may be anything."""
        if not _NAME.fullmatch(name):
            raise DamagedSnapshotError(f"no snapshot has the name {name[:100]!r}")
        return self.read(name)

    @abstractmethod
    def put(self, name: str, parts: Iterable[Bytes]) -> None:
        """Keep one, whole or not at all."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Forget some."""

    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        """See ``SnapshotStore``."""
        name, written = self._name_of(offset), Written()
        # One is written again under its name where the same offset is stored twice.
        earlier = {k: place for k, place in self._worth_keeping() if place.snapshot != name}
        self.put(name, packed(name, offset, arrays, earlier, written))
        self._pieces, self._sizes[name] = written.pieces, written.bytes
        self._needs[name] = frozenset(place.snapshot for place in earlier.values())
        self._forget_old()

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        """See ``SnapshotStore``."""
        for name in self.names():
            try:
                data = self.read(name)
            except DamagedSnapshotError:
                # Somebody has removed it since it was listed, as a store's own clean-up does.
                continue
            self._needs[name] = earlier_of(data)
            yield name, Stored(data, self)

    def begin_again(self) -> None:
        """See ``SnapshotStore``."""
        self._streams_before = self._count() + 1

    def _worth_keeping(self) -> Iterator[tuple[bytes, Place]]:
        """The pieces of the last snapshot, but for those for which much else would be kept."""
        used = Counter[str]()
        for place in self._pieces.values():
            used[place.snapshot] += place.length
        newest = sorted(used, reverse=True)[:_MAX_EARLIER]
        kept = {name for name in newest if used[name] >= _WORTH_KEEPING * self._sizes[name]}
        return ((key, place) for key, place in self._pieces.items() if place.snapshot in kept)

    def _forget_old(self) -> None:
        names = self.names()
        kept = names[:_KEPT]
        if all(name in self._needs for name in kept):
            needed = {*kept}.union(*(self._needs[name] for name in kept))
            self.remove(name for name in names if name not in needed)
            for known in (self._needs, self._sizes):
                for name in known.keys() - needed:
                    del known[name]

    def _name_of(self, offset: int) -> str:
        count = self._count()
        return f"e{count:06d}-{offset:020d}.snapshot" if count else f"{offset:020d}.snapshot"

    def _count(self) -> int:
        if self._streams_before is None:
            found = _COUNTED.match(next(iter(self.names()), ""))
            self._streams_before = int(found[1]) if found else 0
        return self._streams_before


def restored(
    store: SnapshotStore, partition: int, restore: Callable[[dict[str, Array]], _T]
) -> tuple[int, _T] | None:
    """Restore the newest snapshot that is whole and fits.

    Args:
        store: the partition's snapshots.
        partition: named in the log, with the reason why a snapshot is refused.
        restore: makes the state from a snapshot's arrays.

    Returns:
        The snapshot's offset and the state; None if there is no such snapshot.
    """
    for name, stored in store.newest_first():
        try:
            offset, arrays = stored.unpack()
            return offset, restore(arrays)
        except _UNFIT as error:
            log.warning("snapshot_refused", partition=partition, snapshot=name, reason=str(error))
    return None


class SnapshotDirectory(_Store):
    """Snapshots of one partition as files of a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def names(self) -> list[str]:
        return sorted((path.name for path in self._directory.glob("*.snapshot")), reverse=True)

    def read(self, name: str) -> bytes:
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            raise DamagedSnapshotError(f"{name} is not there") from None

    def put(self, name: str, parts: Iterable[Bytes]) -> None:
        """Write beside, flush to the disk, rename: a crash leaves the old one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / name
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._directory / name).unlink(missing_ok=True)


class SnapshotBucket(_Store):
    """Snapshots of one partition as objects below a prefix; a put is whole or not at all."""

    def __init__(self, objects: ObjectStore, bucket: str, prefix: str) -> None:
        super().__init__()
        self._objects = objects
        self._bucket = bucket
        self._prefix = prefix.rstrip("/") + "/"

    def names(self) -> list[str]:
        self._objects.ensure_bucket(self._bucket)
        found = self._objects.list(self._bucket, self._prefix)
        return sorted((info.key.removeprefix(self._prefix) for info in found), reverse=True)

    def read(self, name: str) -> bytes:
        try:
            return self._objects.get(self._bucket, self._prefix + name)
        except NotFound:
            raise DamagedSnapshotError(f"{name} is not there") from None

    def put(self, name: str, parts: Iterable[Bytes]) -> None:
        self._objects.ensure_bucket(self._bucket)
        self._objects.put(self._bucket, self._prefix + name, b"".join(parts))

    def remove(self, names: Iterable[str]) -> None:
        self._objects.delete(self._bucket, [self._prefix + name for name in names])


def snapshot_store(settings: ServiceSettings, place: str, *, remote: bool) -> SnapshotStore:
    """Snapshots below ``place``: in the service's own directory, or in the object store.

    Replicas need the object store: a partition moves between them, and its snapshots with it.
    """
    if not remote:
        return SnapshotDirectory(settings.state_dir.expanduser() / "snapshots" / place)
    return SnapshotBucket(_remote(settings), settings.s3_bucket, f"snapshots/{place}")


def _remote(settings: ServiceSettings) -> ObjectStore:
    from shared.storage import S3Store  # noqa: PLC0415 - snapshots as files do without boto3

    secret = settings.s3_secret_key.get_secret_value()
    return S3Store(settings.s3_url, settings.s3_access_key, secret)


def snapshot_places(settings: ServiceSettings, service: str, *, remote: bool) -> frozenset[str]:
    """The folders with snapshots below the service's own, e.g. ``64/3``."""
    if not remote:
        root = settings.state_dir.expanduser() / "snapshots" / service
        found = [str(path.relative_to(root)) for path in root.glob("**/*.snapshot")]
    else:
        objects = _remote(settings)
        objects.ensure_bucket(settings.s3_bucket)
        prefix = f"snapshots/{service}/"
        listed = objects.list(settings.s3_bucket, prefix)
        found = [info.key.removeprefix(prefix) for info in listed]
    return frozenset(name.rpartition("/")[0] for name in found)
