"""An object store in memory, for tests; it passes the same conformance suite."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.storage.errors import AlreadyExists, Incomplete, NotFound
from shared.storage.store import ObjectInfo, PresignedPrefix, PresignedUpload, Progress


class MemoryStore:
    """Objects in a dictionary. It has no HTTP: its presigned URLs open with ``MemoryStore.put``."""

    def __init__(self) -> None:
        self._buckets: dict[str, dict[str, bytes]] = {}
        self._uploads: dict[str, tuple[str, str, dict[int, bytes]]] = {}

    def ensure_bucket(self, bucket: str) -> None:
        self._buckets.setdefault(bucket, {})

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
        del content_type
        objects = self._objects(bucket)
        if only_if_absent and key in objects:
            raise AlreadyExists(f"{bucket}:{key} exists")
        objects[key] = data.read_bytes() if isinstance(data, Path) else bytes(data)
        if progress is not None:
            progress(len(objects[key]))
        return self._info(bucket, key)

    def get(self, bucket: str, key: str) -> bytes:
        objects = self._objects(bucket)
        if key not in objects:
            raise NotFound(f"{bucket}:{key}")
        return objects[key]

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        path.write_bytes(self.get(bucket, key))

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        return self._info(bucket, key) if key in self._buckets.get(bucket, {}) else None

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self._objects(bucket)):
            if key.startswith(prefix):
                yield self._info(bucket, key)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        objects = self._objects(bucket)
        for key in keys:
            objects.pop(key, None)

    def presign_get(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        return f"memory://get/{bucket}/{key}?expires={expires_s}"

    def presign_put(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        return f"memory://put/{bucket}/{key}?expires={expires_s}"

    def presign_prefix(
        self, bucket: str, prefix: str, expires_s: int, most_bytes: int
    ) -> PresignedPrefix:
        self._objects(bucket)
        url = f"memory://post/{bucket}?most={most_bytes}"
        return PresignedPrefix(url, {}, bucket, prefix, time.time() + expires_s, most_bytes)

    def begin_upload(
        self, bucket: str, key: str, size: int, expires_s: int = 86_400
    ) -> PresignedUpload:
        self._objects(bucket)
        unfinished = [name for name, up in self._uploads.items() if up[:2] == (bucket, key)]
        upload_id = unfinished[0] if unfinished else uuid.uuid4().hex
        parts = self._uploads.setdefault(upload_id, (bucket, key, {}))[2]
        part_bytes = 8 * 2**20
        urls = tuple(
            f"memory://part/{upload_id}/{number}?expires={expires_s}"
            for number in range(1, max(1, -(-size // part_bytes)) + 1)
        )
        return PresignedUpload(bucket, key, upload_id, part_bytes, urls, tuple(sorted(parts)))

    def accept(self, url: str, data: bytes) -> None:
        """Take the bytes that an HTTP PUT to one of its upload URLs would bring."""
        act, *path = url.removeprefix("memory://").split("?")[0].split("/")
        if act == "part":
            self._uploads[path[0]][2][int(path[1])] = data
        else:
            self.put(path[0], "/".join(path[1:]), data)

    def finish_upload(
        self, bucket: str, key: str, upload_id: str, size: int | None = None
    ) -> ObjectInfo:
        if upload_id not in self._uploads or not self._uploads[upload_id][2]:
            raise NotFound(f"no part of {bucket}:{key} has been uploaded")
        has = sum(len(part) for part in self._uploads[upload_id][2].values())
        if size is not None and has != size:
            raise Incomplete(f"{has} of {size} bytes have been uploaded")
        parts = self._uploads.pop(upload_id)[2]
        return self.put(bucket, key, b"".join(parts[number] for number in sorted(parts)))

    def abort_upload(self, bucket: str, key: str) -> None:
        for name in [name for name, up in self._uploads.items() if up[:2] == (bucket, key)]:
            del self._uploads[name]

    def copy(self, bucket: str, source: str, target: str) -> None:
        self._objects(bucket)[target] = self.get(bucket, source)

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        yield self.get(bucket, key)

    def _objects(self, bucket: str) -> dict[str, bytes]:
        if bucket not in self._buckets:
            raise NotFound(f"bucket {bucket}")
        return self._buckets[bucket]

    def _info(self, bucket: str, key: str) -> ObjectInfo:
        data = self._buckets[bucket][key]
        digest = hashlib.sha256(data).hexdigest()
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return ObjectInfo(bucket, key, len(data), etag, digest)
