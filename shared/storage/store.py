"""The port of object stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int], None]
"""Called with the number of bytes sent since the last call."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as the store knows it; ``size`` in bytes."""

    bucket: str
    key: str
    size: int
    etag: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class PresignedUpload:
    """Addresses at which a client without credentials may put one object, part by part.

    ``parts`` are URLs to PUT, in order, ``part_bytes`` each (the last may be shorter). ``done``
    numbers the parts the store has already, from 1.
    """

    bucket: str
    key: str
    upload_id: str
    part_bytes: int
    parts: tuple[str, ...]
    done: tuple[int, ...] = ()


@dataclass(frozen=True)
class PresignedPrefix:
    """Permission for a client without credentials to write objects below a prefix.

    A form POST to ``url`` with ``fields``, ``key`` and the file, of at most ``most_bytes``;
    ``expires_at`` in Unix seconds.
    """

    url: str
    fields: dict[str, str]
    bucket: str
    prefix: str
    expires_at: float
    most_bytes: int = 5 * 2**30


class MemberStore(Protocol):
    """The operations that a job's member needs: store results, fetch its package.

    Both may raise StorageError's subclasses.
    """

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
    ) -> ObjectInfo:
        """Store one object."""

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        """Download the object to ``path``; nothing is left there when it fails."""


class ObjectStore(Protocol):
    """Buckets of objects. Every call may raise StorageError's subclasses."""

    def ensure_bucket(self, bucket: str) -> None:
        """Create the bucket if it does not exist."""

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        only_if_absent: bool = False,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Store one object; a large file goes in parts and continues an interrupted upload.

        Raises:
            AlreadyExists: with ``only_if_absent``, when the object is there.
        """

    def get(self, bucket: str, key: str) -> bytes:
        """The whole object; NotFound when there is none."""

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        """Download the object to ``path``; nothing is left there when it fails."""

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object's size and digests; None when there is none."""

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with ``prefix``, by key."""

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""

    def presign_get(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that reads this one object, for a while, without credentials."""

    def presign_put(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        """A URL that writes this one object, for a while, without credentials."""

    def presign_prefix(
        self, bucket: str, prefix: str, expires_s: int, most_bytes: int
    ) -> PresignedPrefix:
        """A form that writes objects below ``prefix``, each of at most ``most_bytes``."""

    def begin_upload(
        self, bucket: str, key: str, size: int, expires_s: int = 86_400
    ) -> PresignedUpload:
        """Begin, or continue, an upload in parts by a client without credentials.

        The size of each part is signed: no other can be put.
        """

    def finish_upload(
        self, bucket: str, key: str, upload_id: str, size: int | None = None
    ) -> ObjectInfo:
        """Put the uploaded parts together.

        Raises:
            NotFound: for an unknown upload.
            Incomplete: when the parts do not have ``size`` bytes together; they are kept.
        """

    def abort_upload(self, bucket: str, key: str) -> None:
        """Forget unfinished uploads of this object; none is no error."""

    def copy(self, bucket: str, source: str, target: str) -> None:
        """Copy an object within its bucket; NotFound when there is none."""

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """The object piece by piece; NotFound when there is none."""
