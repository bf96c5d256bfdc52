"""Uploads of packages directly to the object store, with URLs that are valid for one upload.

What strangers put lies apart, under a name nobody else knows, until its bytes have been read and
have the digest they were said to have; only then it becomes the package of that digest.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Annotated

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.client.api.dependencies import Client, Provided
from services.client.api.faults import refusal
from services.client.api.projects import NamedProject, own_project
from services.client.model import ReadModel
from services.client.records import UPLOAD_KEPT, Upload
from services.client.settings import ClientSettings
from shared.packages.places import prefix_of
from shared.storage import Incomplete, NotFound, ObjectStore, StorageError, StorageUnavailable

log = structlog.get_logger(__name__)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the package.")]
UploadId = Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$", max_length=32)]
_MAX_UNFINISHED = 1_000


class UploadAsked(BaseModel):
    """A request to upload a package."""

    sha256: Digest
    size: int = Field(gt=0, lt=2**63, description="The size of the package in bytes.")
    upload_id: UploadId = Field(default="", description="The upload to continue; '' for a new one.")
    project: NamedProject = ""


class UploadBegun(BaseModel):
    """PUT ``part_bytes`` of the file to each URL whose number is not in ``done``, then finish.

    Every part has exactly its size, which is signed with its URL.
    """

    package: str = Field(description="The name of the package for `submit`: bucket:key:file.")
    exists: bool = Field(
        description="True if the store has the package, so that nothing is left to do."
    )
    upload_id: str = Field(
        default="",
        description="The secret id of the upload, with which its holder can continue it.",
    )
    part_bytes: int = 0
    parts: tuple[str, ...] = ()
    done: tuple[int, ...] = Field(
        default=(), description="The numbers of the parts that the store has, from 1."
    )


class UploadDone(BaseModel):
    """Every part has been sent."""

    sha256: Digest
    upload_id: UploadId
    project: NamedProject = ""


class Uploads:
    """Starts, finishes and aborts uploads."""

    def __init__(self, objects: ObjectStore, model: ReadModel, settings: ClientSettings) -> None:
        self._objects, self._model = objects, model
        self._bucket, self._most_bytes = settings.s3_bucket, settings.max_package_bytes

    def begin(self, asked: UploadAsked) -> UploadBegun:
        """Begin an upload, or continue one of the caller's own."""
        if asked.size > self._most_bytes:
            raise refusal(422, f"a package has at most {self._most_bytes} bytes", "size")
        project = own_project(asked.project)
        package = self._package(project, asked.sha256)
        self._objects.ensure_bucket(self._bucket)
        if self._is_there(project, asked.sha256):
            return UploadBegun(package=package, exists=True)
        upload = self._continued(asked, project) or self._new(asked, project)
        expires_s = int(UPLOAD_KEPT.total_seconds())
        begun = self._objects.begin_upload(self._bucket, upload.key, upload.size, expires_s)
        return UploadBegun(
            package=package,
            exists=False,
            upload_id=upload.id,
            part_bytes=begun.part_bytes,
            parts=begun.parts,
            done=begun.done,
        )

    def finish(self, done: UploadDone) -> UploadBegun:
        """Put the parts together, and make them the package if they are."""
        project = own_project(done.project)
        answer = UploadBegun(package=self._package(project, done.sha256), exists=True)
        upload = self._model.upload(done.upload_id, project)
        if upload is not None and upload.sha256 != done.sha256:
            upload = None
        if self._is_there(
            project, done.sha256
        ):  # somebody else's, or ours, and the answer was lost
            if upload is not None:
                self._give_up(upload)
            return answer
        if upload is None:
            raise refusal(404, "there is no such upload; begin it again", "upload_id")
        self._put_together(upload)
        digest = hashlib.sha256()
        for piece in self._objects.stream(self._bucket, upload.key):
            digest.update(piece)
        if digest.hexdigest() != upload.sha256:
            self._give_up(upload)
            text = f"what was uploaded has the digest {digest.hexdigest()}"
            raise refusal(422, text, "sha256")
        self._objects.copy(self._bucket, upload.key, _key(project, upload.sha256))
        self._give_up(upload)
        return answer

    def give_up_overdue(self, now: datetime) -> None:
        """Remove what was begun and not finished in time."""
        for upload in self._model.overdue_uploads(now):
            try:
                self._give_up(upload)
            except StorageUnavailable:
                raise
            except StorageError as error:
                # It costs itself alone: uploads behind it would else fill their projects' room.
                log.warning("upload_not_given_up", upload=upload.key, error=str(error))

    def _continued(self, asked: UploadAsked, project: str) -> Upload | None:
        upload = self._model.upload(asked.upload_id, project) if asked.upload_id else None
        same = upload is not None and (upload.sha256, upload.size) == (asked.sha256, asked.size)
        return upload if same else None

    def _new(self, asked: UploadAsked, project: str) -> Upload:
        upload = Upload(
            id=secrets.token_hex(16),
            sha256=asked.sha256,
            size=asked.size,
            begun_at=datetime.now(UTC),
            project=project,
        )
        if not self._model.begin(upload, _MAX_UNFINISHED):
            text = f"{_MAX_UNFINISHED} uploads of the project are unfinished; try again later"
            raise refusal(429, text)
        return upload

    def _put_together(self, upload: Upload) -> None:
        if self._objects.head(self._bucket, upload.key) is not None:
            return  # an earlier finish came so far
        try:
            begun = self._objects.begin_upload(self._bucket, upload.key, upload.size)
            self._objects.finish_upload(self._bucket, upload.key, begun.upload_id, upload.size)
        except (Incomplete, NotFound) as error:
            text = "not every part has been uploaded; begin again with this upload_id"
            raise refusal(409, text, "upload_id") from error

    def _give_up(self, upload: Upload) -> None:
        self._objects.abort_upload(self._bucket, upload.key)
        self._objects.delete(self._bucket, [upload.key])
        self._model.end_upload(upload.id)

    def _is_there(self, project: str, sha256: str) -> bool:
        return self._objects.head(self._bucket, _key(project, sha256)) is not None

    def _package(self, project: str, sha256: str) -> str:
        return f"{self._bucket}:{prefix_of(project)}:{sha256}.tar.gz"


def _key(project: str, sha256: str) -> str:
    return f"{prefix_of(project)}/{sha256}.tar.gz"


routes = APIRouter(prefix="/uploads", tags=["uploads"])


@routes.post("")
def begin(client: Provided, asked: UploadAsked) -> UploadBegun:
    """Begin an upload, or continue an interrupted one."""
    return _uploads(client).begin(asked)


@routes.post("/finish")
def finish(client: Provided, done: UploadDone) -> UploadBegun:
    """Assemble the parts; an upload that does not have its digest is deleted."""
    return _uploads(client).finish(done)


def _uploads(client: Client) -> Uploads:
    return Uploads(client.objects, client.model, client.settings)
