"""The object store on any S3 server, through boto3."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from shared.storage.errors import (
    AlreadyExists,
    Incomplete,
    NotFound,
    StorageError,
)
from shared.storage.s3_client import NOT_FOUND, code_of, s3_client, translated
from shared.storage.store import ObjectInfo, PresignedPrefix, PresignedUpload, Progress

if TYPE_CHECKING:
    pass

PART_BYTES = 8 * 2**20
"""Files above this size go in parts of this size (S3's least is 5 MiB)."""
_MAX_PARTS = 10_000
_MAX_SIGNED = 500
"""The most parts of a presigned upload; each costs a signature and 0.5 kB of the answer."""
_COPIED_AT_ONCE = 2**30


@dataclass(frozen=True)
class _StoredPart:
    etag: str
    size: int


class S3Store:
    """An S3 server at ``url``; path-style addresses, signature version 4.

    Presigned URLs lead to ``public_url``, where those who are given them reach it otherwise.
    """

    def __init__(self, url: str, access_key: str, secret_key: str, public_url: str = "") -> None:
        self._client = s3_client(url, access_key, secret_key)
        self._signer = s3_client(public_url, access_key, secret_key) if public_url else self._client

    def ensure_bucket(self, bucket: str) -> None:
        with translated(f"bucket {bucket}"):
            try:
                self._client.head_bucket(Bucket=bucket)
            except ClientError as error:
                if code_of(error) not in NOT_FOUND:
                    raise
                try:
                    self._client.create_bucket(Bucket=bucket)
                except ClientError as created:
                    if code_of(created) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise

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
        if isinstance(data, Path) and data.stat().st_size > PART_BYTES:
            if only_if_absent and self.head(bucket, key) is not None:
                raise AlreadyExists(f"{bucket}:{key} exists")
            return self._put_parts(bucket, key, data, progress)
        body = data.read_bytes() if isinstance(data, Path) else data
        digest = hashlib.sha256(body).hexdigest()
        condition: Any = {"IfNoneMatch": "*"} if only_if_absent else {}
        with translated(f"{bucket}:{key}"):
            answer = self._client.put_object(
                Bucket=bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                Metadata={"sha256": digest},
                **condition,
            )
        if progress is not None:
            progress(len(body))
        return ObjectInfo(bucket, key, len(body), answer["ETag"].strip('"'), digest)

    def get(self, bucket: str, key: str) -> bytes:
        with translated(f"{bucket}:{key}"):
            return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def fetch(self, bucket: str, key: str, path: Path) -> None:
        partial = path.with_name(path.name + ".partial")
        try:
            with translated(f"{bucket}:{key}"), partial.open("wb") as file:
                body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
                for chunk in body.iter_chunks(1 << 20):
                    file.write(chunk)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            with translated(f"{bucket}:{key}"):
                answer = self._client.head_object(Bucket=bucket, Key=key)
        except NotFound:
            return None
        return ObjectInfo(
            bucket,
            key,
            answer["ContentLength"],
            answer["ETag"].strip('"'),
            answer["Metadata"].get("sha256"),
        )

    def list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        with translated(f"{bucket}:{prefix}"):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield ObjectInfo(bucket, entry["Key"], entry["Size"], entry["ETag"].strip('"'))

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        names = list(keys)
        with translated(bucket):
            for start in range(0, len(names), 1000):
                objects: Any = [{"Key": key} for key in names[start : start + 1000]]
                answer = self._client.delete_objects(
                    Bucket=bucket, Delete={"Objects": objects, "Quiet": True}
                )
                failed = [e for e in answer.get("Errors", []) if e.get("Code") not in NOT_FOUND]
                if failed:
                    raise StorageError(f"{len(failed)} objects were not deleted: {failed[0]}")

    def presign_get(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        return self._presign("get_object", expires_s, Bucket=bucket, Key=key)

    def presign_put(self, bucket: str, key: str, expires_s: int = 3600) -> str:
        return self._presign("put_object", expires_s, Bucket=bucket, Key=key)

    def presign_prefix(
        self, bucket: str, prefix: str, expires_s: int, most_bytes: int
    ) -> PresignedPrefix:
        form = self._signer.generate_presigned_post(
            Bucket=bucket,
            Key=prefix + "${filename}",
            Conditions=[
                ["starts-with", "$key", prefix],
                ["starts-with", "$Content-Type", ""],
                ["content-length-range", 0, most_bytes],
            ],
            ExpiresIn=expires_s,
        )
        fields = {name: value for name, value in form["fields"].items() if name != "key"}
        expires_at = time.time() + expires_s
        return PresignedPrefix(form["url"], fields, bucket, prefix, expires_at, most_bytes)

    def begin_upload(
        self, bucket: str, key: str, size: int, expires_s: int = 86_400
    ) -> PresignedUpload:
        part_bytes = max(PART_BYTES, -(-size // _MAX_SIGNED))
        upload_id, done = self._upload(bucket, key)
        urls = tuple(
            self._presign(
                "upload_part",
                expires_s,
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                ContentLength=min(part_bytes, size - (number - 1) * part_bytes),
            )
            for number in range(1, max(1, -(-size // part_bytes)) + 1)
        )
        return PresignedUpload(bucket, key, upload_id, part_bytes, urls, tuple(sorted(done)))

    def finish_upload(
        self, bucket: str, key: str, upload_id: str, size: int | None = None
    ) -> ObjectInfo:
        with translated(f"{bucket}:{key}"):
            found = self._parts(bucket, key, upload_id)
            if not found:
                raise NotFound(f"no part of {bucket}:{key} has been uploaded")
            has = sum(part.size for part in found.values())
            if size is not None and has != size:
                raise Incomplete(f"{has} of {size} bytes have been uploaded")
            etags = {number: part.etag for number, part in found.items()}
            return self._joined(bucket, key, upload_id, etags)

    def abort_upload(self, bucket: str, key: str) -> None:
        with translated(f"{bucket}:{key}"):
            for upload_id in self._unfinished(bucket, key):
                try:
                    self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
                except ClientError as error:
                    if code_of(error) not in NOT_FOUND:
                        raise

    def copy(self, bucket: str, source: str, target: str) -> None:
        config = TransferConfig(
            multipart_threshold=_COPIED_AT_ONCE,
            multipart_chunksize=_COPIED_AT_ONCE,
            use_threads=False,
        )
        with translated(f"{bucket}:{source}"):
            self._client.copy({"Bucket": bucket, "Key": source}, bucket, target, Config=config)

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        with translated(f"{bucket}:{key}"):
            yield from self._client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20)

    def _presign(self, act: str, expires_s: int, **parameters: object) -> str:
        with translated(str(parameters.get("Key", ""))):
            return self._signer.generate_presigned_url(act, Params=parameters, ExpiresIn=expires_s)

    def _put_parts(
        self, bucket: str, key: str, path: Path, progress: Progress | None
    ) -> ObjectInfo:
        """Upload in parts; parts an interrupted upload left are kept when they are the same."""
        size = path.stat().st_size
        part_bytes = max(PART_BYTES, -(-size // _MAX_PARTS))
        count = -(-size // part_bytes)
        with translated(f"{bucket}:{key}"), path.open("rb") as file:
            upload_id, done = self._upload(bucket, key)
            if any(number > count for number in done):
                # The interrupted upload was of a larger file, whose end would follow this one's.
                self.abort_upload(bucket, key)
                upload_id, done = self._upload(bucket, key)
            sent: dict[int, str] = {}
            for number in range(1, count + 1):
                chunk = file.read(part_bytes)
                sent[number] = self._send(bucket, key, upload_id, number, chunk, done.get(number))
                if progress is not None:
                    progress(len(chunk))
            return self._joined(bucket, key, upload_id, sent)

    def _send(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        part: bytes,
        has: _StoredPart | None,
    ) -> str:
        """Send one part, unless the store has the same; its ETag."""
        digest = hashlib.md5(part, usedforsecurity=False).hexdigest()
        if has is not None and has.etag.strip('"') == digest:
            return has.etag
        answer = self._client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part
        )
        return answer["ETag"]

    def _joined(self, bucket: str, key: str, upload_id: str, parts: dict[int, str]) -> ObjectInfo:
        """Make these parts, by their ETags, the object."""
        listed: Any = [{"PartNumber": n, "ETag": etag} for n, etag in sorted(parts.items())]
        self._client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
        )
        info = self.head(bucket, key)
        if info is None:
            raise StorageError(f"{bucket}:{key} is missing after its upload")
        return info

    def _upload(self, bucket: str, key: str) -> tuple[str, dict[int, _StoredPart]]:
        """The id of this key's unfinished upload with its parts, or of a new one."""
        with translated(f"{bucket}:{key}"):
            for upload_id in self._unfinished(bucket, key):
                return upload_id, self._parts(bucket, key, upload_id)
            created = self._client.create_multipart_upload(Bucket=bucket, Key=key)
            return created["UploadId"], {}

    def _unfinished(self, bucket: str, key: str) -> tuple[str, ...]:
        answer = self._client.list_multipart_uploads(Bucket=bucket, Prefix=key)
        found = answer.get("Uploads", [])
        return tuple(each["UploadId"] for each in found if each["Key"] == key)

    def _parts(self, bucket: str, key: str, upload_id: str) -> dict[int, _StoredPart]:
        pages = self._client.get_paginator("list_parts")
        return {
            part["PartNumber"]: _StoredPart(part["ETag"], part["Size"])
            for page in pages.paginate(Bucket=bucket, Key=key, UploadId=upload_id)
            for part in page.get("Parts", [])
        }
