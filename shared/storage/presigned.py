"""Access to an object store without credentials: one prefix to write, some objects to read."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import urllib3

from shared.storage.errors import (
    AccessDenied,
    NotFound,
    StorageError,
    StorageUnavailable,
    TooLarge,
    is_passing,
)
from shared.storage.store import ObjectInfo, PresignedPrefix

_BLOCK = 2**20
_TIMEOUT = urllib3.Timeout(connect=10.0, read=120.0)


@dataclass(frozen=True)
class PresignedAccess:
    """Keys that may be written, and the URL of each object that may be read, by ``bucket/key``."""

    writes: PresignedPrefix
    reads: Mapping[str, str]


class PresignedStore:
    """Puts and fetches with presigned access alone.

    Args:
        access: the newest access; asked before every request, because it expires.
    """

    def __init__(self, access: Callable[[], PresignedAccess]) -> None:
        self._access = access
        self._http = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
    ) -> ObjectInfo:
        """Store one object.

        Raises:
            StorageError: AccessDenied outside the prefix or after expiry, TooLarge,
                StorageUnavailable when the store cannot be reached.
        """
        form = self._access().writes
        if bucket != form.bucket or not key.startswith(form.prefix):
            raise AccessDenied(
                f"put {bucket}/{key}: only {form.bucket}/{form.prefix} may be written"
            )
        size, digest = _measure(data)
        if size > form.most_bytes:
            raise TooLarge(f"put {bucket}/{key}: larger than {form.most_bytes} bytes")
        fields = form.fields | {"key": key, "Content-Type": content_type}
        boundary = secrets.token_hex(16)
        head, tail = _envelope(boundary, fields)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        body = _stream(head, data, tail)
        with self._request("POST", form.url, f"put {bucket}/{key}", headers, body) as response:
            _check(response, f"put {bucket}/{key}")
        return ObjectInfo(bucket, key, size, sha256=digest)

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        """Download an object that may be read; nothing is left at ``path`` when it fails.

        Raises:
            StorageError: as ``put``; NotFound when there is no such object.
        """
        what = f"get {bucket}/{key}"
        url = self._access().reads.get(f"{bucket}/{key}")
        if url is None:
            raise AccessDenied(f"{what}: it may not be read")
        temporary = path.with_name(path.name + ".part")
        try:
            with self._request("GET", url, what) as response, temporary.open("wb") as file:
                _check(response, what)
                for block in response.stream(_BLOCK):
                    file.write(block)
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable(f"{what}: {error}") from error
        else:
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _request(
        self,
        method: str,
        url: str,
        what: str,
        headers: dict[str, str] | None = None,
        body: Iterator[bytes] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(
                method, url, headers=headers, body=body, preload_content=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable(f"{what}: {error}") from error


def _measure(data: bytes | Path) -> tuple[int, str]:
    """The size and SHA-256 of the content to send."""
    if isinstance(data, bytes):
        return len(data), hashlib.sha256(data).hexdigest()
    with data.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return stream.tell(), digest


def _envelope(boundary: str, fields: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The bytes before and after the file in a form (RFC 7578)."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        f"Content-Type: {fields['Content-Type']}\r\n\r\n"
    )
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


def _stream(head: bytes, data: bytes | Path, tail: bytes) -> Iterator[bytes]:
    yield head
    if isinstance(data, bytes):
        yield data
    else:
        with data.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
    yield tail


def _check(response: urllib3.BaseHTTPResponse, what: str) -> None:
    status = response.status
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return
    text = f"{what}: HTTP {status}: {response.read(500).decode(errors='replace')}"
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound(text)
    if status == HTTPStatus.FORBIDDEN:
        raise AccessDenied(text)
    if is_passing(status):
        raise StorageUnavailable(text)
    raise StorageError(text)
