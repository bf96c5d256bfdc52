"""Requests about a job that was submitted: to cancel and to remove it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.message import Identifier, Message


class JobCancel(Message):
    """Stop this job; harmless if it has ended.

    A cancel that overtakes its submit ends the job when the submit comes, within 30 minutes.
    """

    TYPE: ClassVar[str] = "job.cancel"
    SUBJECT: ClassVar[str] = "job_id"

    job_id: Identifier
    reason: str = Field(default="cancelled by the user", max_length=500)


class JobRemove(Message):
    """Delete an ended job: its record, logs and model. Refused while it runs."""

    TYPE: ClassVar[str] = "job.remove"
    SUBJECT: ClassVar[str] = "job_id"

    job_id: Identifier
