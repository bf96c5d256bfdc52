"""Settings every service has, from environment and file; unknown names are errors."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.registry import Registry
from shared.setting_names import SettingsError, fault
from shared.setting_sources import ConfigFile, Given, given, named_config
from shared.trust import VARIABLE, UntrustedError, trust
from shared.unavailable import Unavailable
from shared.validation import problem_of

__all__ = [
    "ServiceSettings",
    "SettingsError",
    "check_replicas",
    "from_json",
    "host_name",
    "start",
]


_OF_A_USER = re.compile(r"(\w://)[^/\s]*@")
"""User and password in an address."""


class ServiceSettings(BaseSettings):
    """The settings that all services share. A service's own class adds fields under its own prefix.

    Every field ``x`` of service ``task`` is read from ``BAROGRAPH_TASK_X``, and if that is not
    set from ``BAROGRAPH_X``; then from the file that ``BAROGRAPH_CONFIG`` names. In variables,
    lists, maps and models are JSON.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")
    REGISTRIES: ClassVar[tuple[Registry[Any], ...]] = ()
    """The kinds of plug-ins that this service loads; one that cannot be used stops its start."""

    broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/%2F"),
        description="AMQP URL of this service's own broker user.",
    )
    store_url: SecretStr = Field(
        default=SecretStr("sqlite://"), description="SQLAlchemy URL of this service's database."
    )
    s3_url: str = Field(
        default="http://127.0.0.1:8333", description="The address of the S3 server."
    )
    s3_access_key: str = Field(default="", description="S3 access key id.")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 secret key.")
    s3_bucket: str = Field(
        default="barograph",
        description="The bucket in which the platform keeps packages, results and snapshots.",
    )
    health_host: str = Field(
        default="127.0.0.1",
        description="The address on which /livez, /readyz and /metrics are served.",
    )
    health_port: int = Field(
        default=0, ge=0, le=65_535, description="The port to listen on; 0 takes any free one."
    )
    instance: str = Field(
        default="0",
        description="The name of this replica, different from that of every other replica of the "
        "service.",
    )
    state_dir: Path = Field(
        default=Path("~/.local/state/barograph"),
        description="The directory for files that the service keeps on this machine.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="A PEM file of certificate authorities to trust in addition to the public "
        "ones, for connections to broker, object store, mail server and webhooks.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Events below this level are not logged."
    )
    traces_url: str = Field(
        default="",
        pattern=r"^(https?://[^/]+/.*)?$",
        description="The collector to which spans are sent by OTLP over HTTP, such as "
        "http://collector:4318/v1/traces; empty: no tracing. Needs the extra `traces`.",
    )
    traces_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="The share of traces that is sampled; all services should use the same.",
    )
    metric_partitions: int = Field(
        default=4,
        ge=1,
        le=256,
        description="The number of streams over which samples are distributed; all services must "
        "use the same.",
    )

    metric_partitions_before: int = Field(
        default=0,
        ge=0,
        le=256,
        description="The number of streams before METRIC_PARTITIONS, a multiple of it, was "
        "raised; state learned with it is taken over. 0: it was not raised.",
    )

    @field_validator("metric_partitions_before")
    @classmethod
    def _divides(cls, before: int, info: ValidationInfo) -> int:
        now = info.data.get("metric_partitions", before)
        if before and (now % before or now <= before):
            raise ValueError(f"METRIC_PARTITIONS ({now}) is not a multiple of {before}")
        return before

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        named = level.strip().upper() if isinstance(level, str) else level
        return "WARNING" if named == "WARN" else named

    @field_validator("*", mode="before")
    @classmethod
    def _from_json(cls, value: object, info: ValidationInfo) -> object:
        composite = isinstance(value, str) and _is_composite(
            cls.model_fields[str(info.field_name)].annotation
        )
        return from_json(value) if composite else value

    @classmethod
    def load(cls, service: str) -> Self:
        """Read the settings of ``service`` from the environment and ``barograph.toml``.

        Raises:
            SettingsError: naming every unknown key and every bad value, or every plug-in that
                cannot be used.
        """
        unusable = [fault for registry in cls.REGISTRIES for fault in registry.faults()]
        if unusable:
            raise SettingsError("\n".join(unusable))
        return cls.of(service, os.environ, named_config(os.environ))

    @classmethod
    def of(cls, service: str, env: Mapping[str, str], file: ConfigFile | None) -> Self:
        """The settings that an environment and a file give.

        Raises:
            SettingsError: naming every unknown key and every bad value.
        """
        found, faults = cls.given(service, env, file)
        values = {name: each.text for name, each in found.items()}
        try:
            settings = cls.model_validate_strings(values) if values else cls()
        except ValidationError as error:
            faults += [
                _fault(service, e["loc"], fault(cls, e["loc"], problem_of(e)), found)
                for e in error.errors(include_url=False)
            ]
            raise SettingsError("\n".join(faults)) from None
        if faults:
            raise SettingsError("\n".join(faults))
        return settings

    @classmethod
    def given(
        cls, service: str, env: Mapping[str, str], file: ConfigFile | None
    ) -> tuple[dict[str, Given], list[str]]:
        """The value of each setting by environment and file, and a line for each unknown name."""
        return given(service, cls.model_fields, ServiceSettings.model_fields, env, file)

    @classmethod
    def settings_customise_sources(cls, *_args: object, **kwargs: Any) -> tuple[Any, ...]:
        """Only what ``load`` found counts; pydantic's own look at the environment is off."""
        return (kwargs["init_settings"],) if "init_settings" in kwargs else ()

    def shown(self) -> dict[str, str]:
        """The effective settings as one writes them, for the log and for people.

        Secrets are masked, also those within an address. A setting that is not set is empty.
        """
        return {
            name: _OF_A_USER.sub(r"\1**********@", _written(value))
            for name, value in self.model_dump(mode="json", serialize_as_any=True).items()
        }


def _written(value: object) -> str:
    """A setting's value as it stands in a variable: text as it is, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def from_json(value: object) -> object:
    """The value of a setting that is no single value; it comes as JSON.

    Raises:
        ValueError: it is text that is no JSON.
    """
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _is_composite(annotation: Any) -> bool:
    """Return whether values of a type are lists, maps or models."""
    if get_origin(annotation) is not None:
        origin = get_origin(annotation)
        kinds = (list, tuple, dict)
        return origin in kinds or any(_is_composite(each) for each in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fault(
    service: str, place: tuple[int | str, ...], problem: str, found: Mapping[str, Given]
) -> str:
    """One line with the variable or place in the file, the field, and the fault."""
    if not place:
        return problem
    name, *inside = map(str, place)
    where = f"{'.'.join(inside)}: " if inside else ""
    origin = found[name].origin if name in found else f"BAROGRAPH_{service.upper()}_{name.upper()}"
    return f"{origin}: {where}{problem}"


def check_replicas(replicas: int, store_url: SecretStr) -> None:
    """Refuse several replicas on a database that serves one process.

    Raises:
        ValueError: with the reason.
    """
    if replicas > 1 and store_url.get_secret_value().startswith("sqlite"):
        raise ValueError(f"{replicas} replicas need PostgreSQL; STORE_URL is a SQLite database")


S = TypeVar("S", bound=ServiceSettings)


def start(settings: type[S], service: str, run: Callable[[S], None]) -> int:
    """Run a service with its settings; its exit status.

    0 when it was asked to stop, 2 for settings that are not usable, with one line for each fault,
    1 with one line when what it needs at its start, such as its database, stays away.
    """
    try:
        found = settings.load(service)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if found.ca_file is not None:
        try:
            trust(found.ca_file)
        except UntrustedError as error:
            sys.stderr.write(f"{VARIABLE}: {error}\n")
            return 2
    try:
        with _traced(found, service):
            run(found)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except Unavailable as error:
        sys.stderr.write(f"the {service} service ends: {error}\n")
        return 1
    return 0


def _traced(settings: ServiceSettings, service: str) -> AbstractContextManager[None]:
    """While it is entered spans are sent where the settings say."""
    if not settings.traces_url:
        return nullcontext()
    try:
        from shared.traces_otlp import exporting  # noqa: PLC0415 - an extra, and not quick
    except ImportError as error:
        problem = f"BAROGRAPH_TRACES_URL needs the packages of barograph[traces]: {error}"
        raise SettingsError(problem) from error
    return exporting(settings.traces_url, service, settings.instance, settings.traces_ratio)


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()
