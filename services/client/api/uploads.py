"""Uploads of packages: straight to the object store, by URLs that are good for one object."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.client.api.faults import refusal
from services.client.settings import ClientSettings
from shared.storage import ObjectStore

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the package.")]


class UploadAsked(BaseModel):
    """A package somebody wants to upload."""

    sha256: Digest
    size: int = Field(gt=0, description="Bytes.")


class UploadBegun(BaseModel):
    """PUT ``part_bytes`` of the file to each URL whose number is not in ``done``, then finish."""

    package: str = Field(description="What to submit: bucket:key:file.")
    exists: bool = Field(description="Whether the store has the package; then nothing is to do.")
    upload_id: str = ""
    part_bytes: int = 0
    parts: tuple[str, ...] = ()
    done: tuple[int, ...] = Field(default=(), description="Parts the store has, from 1.")


class UploadDone(BaseModel):
    """Every part has been sent."""

    sha256: Digest
    upload_id: str = Field(min_length=1, max_length=1024)


def router(objects: ObjectStore, settings: ClientSettings) -> APIRouter:
    """The routes below /uploads."""
    routes = APIRouter(prefix="/uploads", tags=["uploads"])
    bucket = settings.s3_bucket

    @routes.post("")
    def begin(asked: UploadAsked) -> UploadBegun:
        """Begin an upload, or continue an interrupted one."""
        if asked.size > settings.max_package_bytes:
            raise refusal(422, f"a package has at most {settings.max_package_bytes} bytes", "size")
        key = f"packages/{asked.sha256}.tar.gz"
        objects.ensure_bucket(bucket)
        package = f"{bucket}:packages:{asked.sha256}.tar.gz"
        if objects.head(bucket, key) is not None:
            return UploadBegun(package=package, exists=True)
        begun = objects.begin_upload(bucket, key, asked.size)
        return UploadBegun(
            package=package,
            exists=False,
            upload_id=begun.upload_id,
            part_bytes=begun.part_bytes,
            parts=begun.parts,
            done=begun.done,
        )

    @routes.post("/finish")
    def finish(done: UploadDone) -> UploadBegun:
        """Put the parts together; what does not have its digest is deleted again."""
        key = f"packages/{done.sha256}.tar.gz"
        objects.finish_upload(bucket, key, done.upload_id)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "package"
            objects.fetch(bucket, key, path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != done.sha256:
            objects.delete(bucket, [key])
            raise refusal(422, f"what was uploaded has the digest {digest}", "sha256")
        return UploadBegun(package=f"{bucket}:packages:{done.sha256}.tar.gz", exists=True)

    return routes
