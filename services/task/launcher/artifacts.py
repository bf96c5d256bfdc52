"""What the program leaves: model and outputs, uploaded with their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from services.task.launcher.environment import Places
from services.task.spec import MemberSpec
from shared.contracts import Artifact
from shared.storage import MemberStore, StorageError

log = structlog.get_logger(__name__)

_MOST_FILES = 10_000
_BLOCK = 2**20
_RETRY_S = 2.0


def upload(
    store: MemberStore, spec: MemberSpec, places: Places, owner: int | None, patience_s: float
) -> tuple[Artifact, ...]:
    """Upload everything, then a manifest that names it; retries while the store is away.

    Links and files of other owners are left out: through them a program could have us read
    what it may not.

    Raises:
        StorageError: when the store stayed away for ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    artifacts = []
    for file, key in _files(spec, places, owner):
        size, digest = _digest(file)
        _put(store, spec.credentials.bucket, key, file, deadline)
        artifacts.append(
            Artifact(bucket=spec.credentials.bucket, key=key, size=size, sha256=digest)
        )
    if artifacts:
        member = spec.member
        key = f"jobs/{spec.job.job_id}/manifest/{member.name}.{member.incarnation}.json"
        manifest = json.dumps([a.model_dump() for a in artifacts], indent=1).encode()
        _put(store, spec.credentials.bucket, key, manifest, deadline)
    return tuple(artifacts)


def _files(spec: MemberSpec, places: Places, owner: int | None) -> Iterator[tuple[Path, str]]:
    base = f"jobs/{spec.job.job_id}"
    # The job's model is the deciding member's; what others leave must not overwrite it.
    model = f"{base}/model" if spec.primary else f"{base}/output/{spec.member.name}/model"
    output = f"{base}/output" if spec.primary else f"{base}/output/{spec.member.name}"
    number = 0
    for root, prefix in ((places.model, model), (places.output, output)):
        for directory, _, names in os.walk(root, followlinks=False):
            for name in sorted(names):
                file = Path(directory) / name
                status = file.lstat()
                mine = owner is None or status.st_uid == owner
                if not stat.S_ISREG(status.st_mode) or not mine or number >= _MOST_FILES:
                    log.warning("artifact_left_out", file=str(file))
                    continue
                number += 1
                yield file, f"{prefix}/{file.relative_to(root).as_posix()}"


def _digest(file: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _put(store: MemberStore, bucket: str, key: str, data: bytes | Path, deadline: float) -> None:
    while True:
        try:
            store.put(bucket, key, data)
        except StorageError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("upload_postponed", key=key, error=str(error))
            time.sleep(_RETRY_S)
        else:
            return
