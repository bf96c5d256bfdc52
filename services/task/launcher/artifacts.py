"""Uploads the files that a program leaves (model and outputs), with their checksums."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.task.launcher import patience
from services.task.launcher.environment import Places
from services.task.launcher.results import LeftFile, LeftOut, Results
from services.task.spec import MemberSpec
from shared.contracts import MAX_ARTIFACTS, MAX_REASONS, Artifact, Stored
from shared.storage import MemberStore, TooLarge

_HOLLOW_FROM = 5 * 2**30
_HOLLOW_SHARE = 16
_BLOCK = 512
"""The unit of ``st_blocks``, whatever the file system's own."""


@dataclass
class Uploaded:
    """The uploaded files: the first artifacts, their number, and those left out."""

    artifacts: list[Artifact] = field(default_factory=list)
    files: int = 0
    size: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)

    def __iter__(self) -> Iterator[Artifact]:
        return iter(self.artifacts)

    @property
    def stored(self) -> Stored:
        """Convert it to the form of messages."""
        reasons = tuple(self.left_out.reasons[:MAX_REASONS])
        return Stored(
            files=self.files, size=self.size, left_out=self.left_out.number, reasons=reasons
        )


def upload(
    store: MemberStore, spec: MemberSpec, places: Places, owner: int | None, patience_s: float
) -> Uploaded:
    """Upload everything, then a manifest that names it; retries while the store is unavailable.

    Raises:
        StorageError: when the store stayed away for ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    bucket, member, job = spec.credentials.bucket, spec.member, spec.job.job_id
    done = Uploaded()
    # Written as it grows: a hundred thousand files are not held in memory.
    with tempfile.NamedTemporaryFile("w", suffix=".json") as manifest:
        for file, key in _files(spec, places, Results(owner, done.left_out)):
            artifact = _uploaded(store, bucket, key, file, done.left_out, deadline)
            if artifact is None:
                continue
            manifest.write((",\n " if done.files else "[\n ") + artifact.model_dump_json())
            done.files += 1
            done.size += artifact.size
            if len(done.artifacts) < MAX_ARTIFACTS:
                done.artifacts.append(artifact)
        manifest.write("\n]")
        manifest.flush()
        if done.files:
            key = f"jobs/{job}/manifest/{member.name}.{member.incarnation}.json"
            patience.put(store, bucket, key, Path(manifest.name), deadline)
    if done.left_out.number:
        key = f"jobs/{job}/manifest/{member.name}.{member.incarnation}.left-out.txt"
        text = "\n".join(done.left_out.reasons)
        patience.put(
            store, bucket, key, f"{done.left_out.number} in all\n{text}\n".encode(), deadline
        )
    return done


def _files(spec: MemberSpec, places: Places, results: Results) -> Iterator[tuple[LeftFile, str]]:
    base = f"jobs/{spec.job.job_id}"
    # The job's model is the deciding member's; what others leave must not overwrite it.
    model = f"{base}/model" if spec.primary else f"{base}/output/{spec.member.name}/model"
    output = f"{base}/output" if spec.primary else f"{base}/output/{spec.member.name}"
    for root, prefix in ((places.model, model), (places.output, output)):
        for file in results.files(root):
            yield file, f"{prefix}/{file.name}"


def _uploaded(
    store: MemberStore, bucket: str, key: str, file: LeftFile, left_out: LeftOut, deadline: float
) -> Artifact | None:
    try:
        status = os.fstat(file.descriptor)
        if _is_hollow(status):
            on_disk = status.st_blocks * _BLOCK
            left_out.add(file.name, f"is sparse: of {status.st_size} bytes {on_disk} are on disk")
            return None
        with file.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        patience.put(store, bucket, key, file.path, deadline)
    except TooLarge as error:
        left_out.add(file.name, str(error))
    except patience.RefusedError as error:
        left_out.add(file.name, f"the store refuses it: {error}"[:300])
    except OSError as error:
        left_out.add(file.name, f"cannot be read: {error.strerror}")
    else:
        return Artifact(bucket=bucket, key=key, size=size, sha256=digest)
    return None


def _is_hollow(status: os.stat_result) -> bool:
    """Return whether a file is large only because of its holes, which would be stored as zeros."""
    held = status.st_blocks * _BLOCK
    return status.st_size > _HOLLOW_FROM and held < status.st_size // _HOLLOW_SHARE
