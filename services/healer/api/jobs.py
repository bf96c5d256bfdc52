"""Whom jobs may name for notices, so that who hands one in learns at once of a name in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from shared.contracts.job_notices import NoticeTarget

if TYPE_CHECKING:
    from services.healer.api.app import Healer


class Refused(BaseModel):
    """Targets that no job may name."""

    refused: tuple[str, ...] = Field(description="Those of the question, in its order.")
    channels: tuple[str, ...] = Field(description="The channels that jobs may name.")


def router(healer: Healer) -> APIRouter:
    """The routes about notices of jobs."""
    routes = APIRouter(prefix="/job-notices", tags=["jobs"])
    channels = healer.settings.all_channels

    @routes.get("/refused")
    def refused(to: Annotated[list[NoticeTarget], Query(min_length=1, max_length=10)]) -> Refused:
        """Which of these targets a job may not name."""
        return Refused(
            refused=tuple(t for t in to if not any(c.for_job(t) for c in channels)),
            channels=tuple(channel.name for channel in channels if channel.jobs),
        )

    return routes
