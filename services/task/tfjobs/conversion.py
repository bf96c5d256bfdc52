"""Converts a TFJob object to a job and its package."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.task.tfjobs.tfjob import TFJob
from shared.contracts import DEFAULT_PROJECT, JobSubmit
from shared.packages import pack
from shared.packages.places import prefix_of
from shared.storage import ObjectStore
from shared.tfjob import NotImportableError, import_tfjob, write

_MAX_NAME = 63
_MAX_WHO = 128
_MAX_FAULT = 500


class Refused(Exception):
    """A TFJob that cannot become a job of ours; ``faults`` names every reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Converted:
    """The job, and what of the TFJob is done otherwise than it says."""

    submit: JobSubmit
    notes: tuple[str, ...]


def job_id(tfjob: TFJob, run: int) -> str:
    """The id of the job of a TFJob: always the same, and no other object's."""
    name = tfjob.name[:_MAX_NAME].rstrip(".-")
    return f"{name}-{tfjob.uid}" if run == 1 else f"{name}-{tfjob.uid}-{run}"


def convert(
    tfjob: TFJob, run: int, store: ObjectStore, bucket: str, project: str = DEFAULT_PROJECT
) -> Converted:
    """Import a TFJob as a job of ``project`` and see that its package is in the store.

    The package only becomes its container's command; equal commands are one package, so a
    repeated call changes nothing.

    Raises:
        Refused: naming every fault.
        StorageError: when the store does not answer.
    """
    try:
        imported = import_tfjob(json.dumps(tfjob.described()).encode())
    except NotImportableError as error:
        raise Refused(error.faults) from error
    except RecursionError as error:
        raise Refused(["it is nested too deeply"]) from error
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory, "tfjob")
        write(imported.commands, folder)
        packed = pack(folder, Path(directory, "package.tar.gz"))
        file = packed.key.rpartition("/")[2]
        key = f"{prefix_of(project)}/{file}"
        body: dict[str, Any] = imported.body | {
            "job_id": job_id(tfjob, run),
            "name": tfjob.name[:_MAX_NAME].rstrip(".-"),
            "main": "main.py",
            "package": f"{bucket}:{prefix_of(project)}:{file}",
            "project": project,
            "package_sha256": packed.sha256,
            "submitted_by": f"TFJob {tfjob.namespace}/{tfjob.name}"[:_MAX_WHO],
        }
        submit = _validated(body)
        store.ensure_bucket(bucket)
        if store.head(bucket, key) is None:
            store.put(bucket, key, packed.path)
    return Converted(submit, imported.notes)


def _validated(body: dict[str, Any]) -> JobSubmit:
    try:
        return JobSubmit.model_validate(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in errors]
        raise Refused([fault.removeprefix(": ")[:_MAX_FAULT] for fault in faults]) from error
