"""The answer to a request that was refused, whatever kind of request it was."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AwareDatetime, Field

from shared.contracts.message import Faults, Message, cut_to


class RequestRefused(Message):
    """A command was not valid; nothing was done. Names every fault found."""

    TYPE: ClassVar[str] = "request.refused"
    SUBJECT: ClassVar[str] = "job_id"
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ("request_type", "request_id", "job_id")

    request_type: Annotated[str, cut_to(100)] = Field(
        max_length=100, description="The refused message's type."
    )
    request_id: Annotated[str, cut_to(255)] = Field(
        max_length=255, description="The refused message's id, to match it with the request."
    )
    job_id: Annotated[str, cut_to(128)] = Field(
        default="", max_length=128, description="The job it named, if it named one readably."
    )
    faults: Faults = Field(min_length=1)
    at: AwareDatetime

    def routing_key(self) -> str:
        return f"{self.TYPE}.{self.request_type}"
