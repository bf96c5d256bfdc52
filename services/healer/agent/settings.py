"""Settings of the node agent: what it monitors, and what it may delete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.healer import remediations
from services.healer.agent.evidence import base as evidence
from services.healer.remediations import Remediation, checked, make
from services.healer.remediations.clean_logs import CleanLogs, CleanRoot
from shared.changes import changed
from shared.contracts.message import HostName, routing_word
from shared.items import ITEMS
from shared.settings import ServiceSettings, host_name


class Volume(BaseModel):
    """A directory that is monitored like a file system."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="The directory, which becomes the label mount of the series.")
    capacity_bytes: int = Field(
        gt=0, description="The size in bytes at which the directory counts as full."
    )

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("must be an absolute path")
        return value


class Watched(BaseModel):
    """A program whose processes' CPU time is monitored as one series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: str = Field(
        min_length=1,
        max_length=100,
        description="A shell pattern of the executable's name without its path, which becomes "
        "the label program of the series.",
    )
    cores: float = Field(default=1, gt=0, description="The number of cores that count as 100 %.")


class AgentSettings(ServiceSettings):
    """``BAROGRAPH_AGENT_…``; lists and ``REMEDIATIONS`` take JSON."""

    REGISTRIES: ClassVar = (evidence.REGISTRY, remediations.REGISTRY)

    host: HostName = Field(
        default_factory=host_name,
        validate_default=True,
        description="The name of this machine in samples and commands; by default its host name.",
    )
    interval_s: float = Field(
        default=10, gt=0, description="The seconds between two readings of every item."
    )
    items: tuple[str, ...] = Field(
        default=(), description="The items that are published; empty: all."
    )
    volumes: tuple[Volume, ...] = Field(
        default=(), description="Directories that are monitored as if each were a file system."
    )
    programs: tuple[Watched, ...] = Field(
        default=(), description="Programs whose use of CPU time is monitored."
    )
    clean: tuple[CleanRoot, ...] = Field(
        default=(),
        description="The directories in which clean-logs may delete files; empty: nowhere.",
    )
    remediations: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="The other remediations that may act on this machine, each with its settings.",
    )
    mask: tuple[str, ...] = Field(
        default=(),
        description="Regular expressions of further secrets that are masked in evidence, as a JSON "
        "list.",
    )
    kept_batches: int = Field(
        default=360,
        ge=1,
        le=100_000,
        description="The number of batches of samples that are kept while the broker cannot be "
        "reached.",
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
        """The remediations that this machine allows, by name."""
        allowed = {name: make(name, fields) for name, fields in self.remediations.items()}
        if self.clean:
            allowed.setdefault(CleanLogs.NAME, CleanLogs(roots=self.clean))
        return allowed

    @property
    def word(self) -> str:
        """The last word of the keys that commands for this machine carry."""
        return routing_word(self.host)

    def addressed(self) -> AgentSettings:
        """The settings with the machine's name as the instance, because commands are addressed to
        it.

        A name for the instance that changes at every start would leave queues behind.
        """
        return changed(self, instance=self.host.replace(":", "-"))
