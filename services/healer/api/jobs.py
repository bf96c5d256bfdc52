"""Recipients that jobs may name, so that a submitter learns at once of a wrong one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from services.healer.api.dependencies import Provided
from services.healer.jobs import targets
from shared.contracts.job_notices import NoticeTarget

routes = APIRouter(prefix="/job-notices", tags=["jobs"])


class Refused(BaseModel):
    """Targets that no job may name."""

    refused: tuple[str, ...] = Field(
        description="The refused targets, in the order of the question."
    )
    channels: tuple[str, ...] = Field(description="The channels that jobs may name.")


@routes.get("/refused")
def refused(
    healer: Provided, to: Annotated[list[NoticeTarget], Query(min_length=1, max_length=10)]
) -> Refused:
    """The targets among these that a job may not name."""
    channels = healer.settings.all_channels
    return Refused(
        refused=targets.refused(to, channels),
        channels=tuple(channel.name for channel in channels if channel.jobs),
    )
