"""Settings of the node agent: what it watches, and what it may delete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.healer import remediations
from services.healer.agent.evidence import base as evidence
from services.healer.remediations import Remediation, checked, make
from services.healer.remediations.clean_logs import CleanLogs, CleanRoot
from shared.contracts.message import HostName, routing_word
from shared.items import ITEMS
from shared.settings import ServiceSettings, host_name


class Volume(BaseModel):
    """A directory that is watched like a file system of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="The directory; becomes the label mount.")
    capacity_bytes: int = Field(gt=0, description="Bytes at which it counts as full.")

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value


class Watched(BaseModel):
    """A program whose processes' CPU time is watched as one series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = Field(
        min_length=1,
        max_length=100,
        description="Pattern of program names (the executable's, without its path); the label.",
    )
    cores: float = Field(default=1, gt=0, description="Cores it may use; they count as 100 %.")


class AgentSettings(ServiceSettings):
    """``BAROGRAPH_AGENT_…``; lists and ``REMEDIATIONS`` take JSON."""

    REGISTRIES: ClassVar = (evidence.REGISTRY, remediations.REGISTRY)

    host: HostName = Field(
        default_factory=host_name,
        validate_default=True,
        description="This machine's name in samples and commands.",
    )
    interval_s: float = Field(default=10, gt=0, description="Seconds between two readings.")
    items: tuple[str, ...] = Field(default=(), description="Items to publish; empty: all.")
    volumes: tuple[Volume, ...] = Field(
        default=(), description="Directories watched like file systems."
    )
    programs: tuple[Watched, ...] = Field(
        default=(), description="Programs whose CPU time is watched."
    )
    clean: tuple[CleanRoot, ...] = Field(
        default=(), description="Where clean-logs may delete; empty: nowhere."
    )
    remediations: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="What else this machine allows: remediation to its settings.",
    )
    mask: tuple[str, ...] = Field(
        default=(), description="Regular expressions of secrets beside those known; JSON list."
    )
    kept_batches: int = Field(
        default=360, ge=1, le=100_000, description="Batches kept while the broker is away."
    )

    @field_validator("items")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in ITEMS]
        if unknown:
            raise ValueError(f"no such items: {', '.join(unknown)}")
        return value

    @field_validator("mask")
    @classmethod
    def _are_expressions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return value

    @field_validator("remediations")
    @classmethod
    def _can_be_made(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return checked(value, "node")

    def remediations_of(self) -> dict[str, Remediation]:
        """What this machine allows, by name."""
        allowed = {name: make(name, fields) for name, fields in self.remediations.items()}
        if self.clean:
            allowed.setdefault(CleanLogs.NAME, CleanLogs(roots=self.clean))
        return allowed

    @property
    def word(self) -> str:
        """The last word of the keys that commands for this machine carry."""
        return routing_word(self.host)

    def addressed(self) -> AgentSettings:
        """These settings with the machine as instance, since that is how it is addressed.

        A name for the instance that changes at every start would leave queues behind.
        """
        return self.model_copy(update={"instance": self.host.replace(":", "-")})
