"""The detector's settings: how series are judged, and what the gateway accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from services.detector.calendars import Calendar
from services.detector.combination import Combination
from services.detector.detectors import REGISTRY, registered
from services.detector.overrides import Overrides
from services.detector.periodicity import Periodicity
from shared.changes import changed
from shared.memory import memory_bytes
from shared.settings import ServiceSettings

_IN_SECONDS = {
    "alarm_confirm_points": "alarm_confirm_s",
    "alarm_clear_points": "alarm_clear_s",
}
"""Settings that counted points, and those that took their place."""


class EngineSettings(BaseModel):
    """The settings of judging, the same for all series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    combination: Combination = Field(
        default=Combination(), description="The way in which the detectors' votes become a verdict."
    )
    periodicity: Periodicity = Field(
        default=Periodicity(),
        description="The limits by which a series counts as one with a daily rhythm.",
    )
    detectors: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="The settings of detectors, by the detector's name."
    )
    step_s: float | None = Field(
        default=None,
        gt=0,
        description="The seconds between two points of a series; null: learned for each series.",
    )
    tolerated_gap: int = Field(
        default=3,
        ge=0,
        description="Up to this many missing points leave recent history usable; after more, it "
        "is started anew.",
    )
    stale_after_s: float = Field(
        default=600,
        gt=0,
        description="A sample older than this on arrival is learned but not judged.",
    )
    confirm_points: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="The number of consecutive anomalous points that open an episode; null: 1 in "
        "mode surprise, which reports each onset once, otherwise 3.",
    )
    clear_points: int = Field(
        default=5,
        ge=1,
        le=10_000,
        description="The number of consecutive normal points that end an episode.",
    )
    alarm_confirm_s: float = Field(
        default=10,
        ge=0,
        le=86_400,
        description="Seconds beyond the item's threshold, from the first to the latest point, "
        "that raise an alarm; 0: the first point does. If points are further apart, the "
        "second one does.",
    )
    burst_confirm_s: float = Field(
        default=45,
        ge=0,
        le=86_400,
        description="The same for items that ordinary work briefly takes beyond their "
        "thresholds, such as cpu.idle (see the page of items).",
    )
    alarm_clear_s: float = Field(
        default=10,
        ge=0,
        le=86_400,
        description="Seconds within the threshold, counted likewise, that end it.",
    )
    startup_s: float = Field(
        default=120,
        ge=0,
        le=86_400,
        description="No anomaly is reported in a series' first seconds, nor in those of its "
        "machine's agent, during which items that come in bursts raise no alarm either.",
    )
    max_series: int = Field(
        default=1_000_000,
        ge=1,
        description="The number of series of one partition; further ones are refused.",
    )
    recent_points: int = Field(
        default=64,
        ge=1,
        le=2000,
        description="The number of points of a series that are kept for the plot in a "
        "notification.",
    )
    silent_after_s: float = Field(
        default=300,
        gt=0,
        description="A machine that has sent nothing for this time counts as not alive.",
    )
    series_ended_after_s: float = Field(
        default=3600,
        ge=1,
        le=31_536_000,
        description="An anomaly or alarm of a series that has sent nothing for this time, and for "
        "ten of its steps, ends, unless its machine is reported as silent. If the series of the "
        "whole machine were ended by staleness markers, it ends once the machine counts as gone.",
    )
    max_clock_step_s: float = Field(
        default=60,
        gt=0,
        description="If the time of a partition's samples jumps by more than this, the samples "
        "were delayed and no machine counts as silent.",
    )
    zone: str = Field(
        default="UTC",
        description="The time zone by which days and weeks are counted, such as Asia/Tokyo.",
    )
    holidays: tuple[str, ...] = Field(
        default=(),
        description="Local dates that are unlike other days: 2026-11-23, or 12-25 for every year.",
    )
    overrides: Overrides = Field(
        default=Overrides(),
        description="The settings that differ for some series, as in OVERRIDES_FILE.",
    )

    @model_validator(mode="before")
    @classmethod
    def _seconds_not_points(cls, given: object) -> object:
        """Two points were two minutes for one sender and two seconds for another."""
        if isinstance(given, dict):
            faults = [
                f"{old}: say {new}, how many seconds it must last; points are of any length"
                for old, new in _IN_SECONDS.items()
                if old in given
            ]
            if faults:
                raise ValueError("; ".join(faults))
        return given

    @property
    def confirming(self) -> int:
        """Anomalous points in a row that open an episode."""
        if self.confirm_points is not None:
            return self.confirm_points
        return 1 if self.combination.mode == "surprise" else 3

    @model_validator(mode="after")
    def _calendar_possible(self) -> Self:
        self.calendar()
        return self

    def calendar(self) -> Calendar:
        """The calendar of the series to which no override gives another."""
        return Calendar(zone=self.zone, holidays=self.holidays)

    @field_validator("combination")
    @classmethod
    def _voters_known(cls, value: Combination) -> Combination:
        unknown = [name for name in value.voters() if name not in registered()]
        if unknown:
            msg = f"no detector {', '.join(unknown)}; there are {', '.join(registered())}"
            raise ValueError(msg)
        return value

    @field_validator("detectors")
    @classmethod
    def _known(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        faults = [f"no detector {name!r}" for name in value if name not in registered()]
        if faults:
            msg = "; ".join(faults) + f"; there are {', '.join(registered())}"
            raise ValueError(msg)
        for name, fields in value.items():
            registered()[name](**fields)
        return value


_SERIES_BYTES = 8 * 1024
"""The memory that a series takes, with its state in all detectors and its names."""
_SHARE_OF_SERIES = 0.6


def series_that_fit() -> int:
    """Return how many series this process can hold in its memory."""
    return max(1000, int(memory_bytes() * _SHARE_OF_SERIES / _SERIES_BYTES))


class Settings(ServiceSettings):
    """``BAROGRAPH_DETECTOR_…``; ``ENGINE`` takes JSON."""

    REGISTRIES: ClassVar = (REGISTRY,)

    engine: EngineSettings = Field(
        default=EngineSettings(), description="The settings by which points are judged, as JSON."
    )

    overrides_file: Path | None = Field(
        default=None,
        description="A TOML file with settings that differ for some series; it is read at start.",
    )

    @field_validator("overrides_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            Overrides.read(value)
        return value

    def judging(self) -> EngineSettings:
        """The engine's settings, with the overrides of the file."""
        if self.overrides_file is None:
            return self.engine
        overrides = Overrides.read(self.overrides_file)
        return changed(self.engine, overrides=overrides)

    gateway_host: str = Field(
        default="127.0.0.1", description="The address on which the gateway accepts samples."
    )
    gateway_port: int = Field(
        default=0, ge=0, le=65_535, description="The port to listen on; 0 takes any free one."
    )
    gateway_token: SecretStr = Field(
        default=SecretStr(""),
        description="The bearer token that senders must present; empty: none is required.",
    )
    gateway_in_flight: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="The number of requests processed at once; further ones are answered with 429.",
    )
    gateway_body_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1024,
        description="The size in bytes of the largest request body before decompression.",
    )
    gateway_raw_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        description="The size in bytes of the largest request body after decompression.",
    )
    gateway_series: int = Field(
        default=0,
        ge=0,
        description="The number of series that the gateway accepts; further ones are refused. 0: "
        "as many as fit into this process' memory, about 80,000 per GiB.",
    )
    gateway_host_series: int = Field(
        default=20_000,
        ge=1,
        description="The number of series of one machine; further ones are refused.",
    )
    gateway_forget_s: float = Field(
        default=3600,
        gt=0,
        description="Once the number of series is reached, series without a sample for this time "
        "make room for new ones.",
    )
    gateway_ahead_s: float = Field(
        default=60, ge=0, description="A sample further in the future than this is refused."
    )
    gateway_ignore: str = Field(
        default=r"(go|process|promhttp|prometheus|scrape|node_scrape|net_conntrack)_.*",
        description="A regular expression; series of remote write whose name matches it are "
        "dropped.",
    )
    gateway_machine_label: str = Field(
        default="",
        max_length=128,
        description="The label that names the machine, if your relabelling sets one; it takes "
        "precedence over host and instance.",
    )
    roles: tuple[Literal["gateway", "judge"], ...] = Field(
        default=("gateway", "judge"),
        min_length=1,
        description="The roles of this process, as JSON: `gateway` accepts samples and appends "
        "them to the streams, `judge` processes its share of the streams.",
    )
    heartbeat_s: float = Field(
        default=15,
        ge=0,
        description="The interval between the gateway's own time marks, by which silent machines "
        "are detected; 0: none are sent.",
    )
    snapshot_every_s: float = Field(
        default=10, gt=0, description="The interval between two snapshots of the learned state."
    )
    snapshots: Literal["file", "s3"] = Field(
        default="file",
        description="The place of snapshots: STATE_DIR or the object store.",
    )
