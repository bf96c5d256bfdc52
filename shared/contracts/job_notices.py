"""The notifications that a job asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.message import Part

PROJECT_HEADER = "X-Barograph-Project"
"""The header of a mail about jobs that names their projects, with spaces between them."""

NoticeTarget = Annotated[
    str,
    Field(
        max_length=330,
        pattern=r"^(mail:[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}|[a-z0-9][a-z0-9-]{0,39})$",
        description="mail:ADDRESS, or the name of a channel; the healer must allow it to jobs.",
    ),
]


class JobNotify(Part):
    """A request for notifications; the healer's channels with ``jobs`` say whom a job may name."""

    to: tuple[NoticeTarget, ...] = Field(
        min_length=1,
        max_length=10,
        description="The recipient: a channel's name, or mail: and an address.",
    )
    on: tuple[Literal["failed", "succeeded", "pending"], ...] = Field(
        default=("failed", "succeeded", "pending"),
        min_length=1,
        max_length=3,
        description="The occasions to notify: a failure, a success, or a wait longer than "
        "`pending_s`.",
    )
    pending_s: float = Field(
        default=900,
        ge=10,
        le=2_678_400,
        description="The seconds that a job may wait before it counts as waiting too long.",
    )
