"""The records that the task service keeps of each TFJob whose job is not over."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.store import Collection


class TFJobRecord(BaseModel):
    """A TFJob that was taken, and the job it became.

    Kept until the object's status has the end of it, or the object is gone and so is its job.
    """

    model_config = ConfigDict(frozen=True)

    uid: str
    namespace: str
    name: str
    job_id: str
    run: int = 1
    """The number of jobs so far: each time it is resumed, it is another one."""
    stage: Literal["active", "suspending", "suspended"] = "active"
    notes: tuple[str, ...] = ()
    """Notes on fields that are carried out otherwise than the TFJob says."""


TFJOBS = Collection("tfjobs", TFJobRecord, key=lambda r: r.uid)
