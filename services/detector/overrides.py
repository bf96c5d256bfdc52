"""Settings that differ for some series, from a TOML file.

```toml
[calendars.japan]
zone = "Asia/Tokyo"
holidays = ["2026-11-23", "01-01"]

[[series]]                      # patterns are the shell's; what is not given fits everything
hosts = "web*"
items = "http.requests"
labels = {route = "/pay*"}
calendar = "japan"
direction = "drop"
min_deviation = 50
```

All entries that fit a series count; where two set the same field, the later one does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.detector.calendars import Calendar
from shared.contracts.healing import HostPattern
from shared.samples import labels_from
from shared.setting_names import SettingsError, faults
from shared.setting_sources import read_toml

_PATTERNS = ("hosts", "items", "labels")


class OverridesError(ValueError):
    """The file cannot be used; the text names every fault with its place."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeriesRule(_Strict):
    """Settings for the matching series; a field that is not set changes nothing."""

    hosts: HostPattern = Field("*", description="A shell pattern of machines' names.")
    items: str = Field("*", description="A shell pattern of items' names.")
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="A shell pattern for each label; a series without the label does not match.",
    )
    calendar: str | None = Field(None, description="The name of the calendar for these series.")
    judged: bool | None = Field(
        None,
        description="false: nobody is notified of unusual behaviour, only of a crossed alarm "
        "threshold.",
    )
    direction: Literal["both", "spike", "drop"] | None = Field(
        None, description="The deviations from usual behaviour that are anomalies."
    )
    min_deviation: float | None = Field(
        None,
        ge=0,
        description="The smallest deviation from usual behaviour, in the item's unit, that is an "
        "anomaly.",
    )
    alarms_per_week: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="The acceptable number of false alarms per week, by which the detector "
        "surprise sets its threshold.",
    )
    minimum: float | None = Field(
        None, description="A smaller value is invalid and counts as missing."
    )
    maximum: float | None = Field(
        None, description="A larger value is invalid and counts as missing."
    )
    threshold: float | None = Field(None, description="The alarm threshold, in the item's unit.")
    alarm_confirm_s: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="Seconds beyond the threshold that raise the alarm, instead of the engine's.",
    )
    alarm: Literal["above", "below", "none"] | None = Field(
        None,
        description="On which side of the threshold the alarm lies; none: these series have no "
        "threshold.",
    )

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        faults = []
        if not self.model_fields_set - {*_PATTERNS}:
            faults.append("it changes nothing")
        least, most = self.minimum, self.maximum
        if least is not None and most is not None and not least < most:
            faults.append(f"minimum {least} is not below maximum {most}")
        if self.alarm == "none" and self.threshold is not None:
            faults.append("alarm none has no threshold")
        if faults:
            raise ValueError("; ".join(faults))
        return self


@dataclass(frozen=True)
class _Matcher:
    """A rule's patterns, compiled."""

    rule: SeriesRule
    host: re.Pattern[str] = field(init=False)
    item: re.Pattern[str] = field(init=False)
    labels: Mapping[str, re.Pattern[str]] = field(init=False)

    def __post_init__(self) -> None:
        rule = self.rule
        object.__setattr__(self, "host", re.compile(translate(rule.hosts)))
        object.__setattr__(self, "item", re.compile(translate(rule.items)))
        compiled = {name: re.compile(translate(text)) for name, text in rule.labels.items()}
        object.__setattr__(self, "labels", compiled)

    def fits(self, host: str, labels: str) -> bool:
        """Return whether the rule is about a series of an item that it is about."""
        if not self.host.match(host):
            return False
        if not self.labels:
            return True
        own = labels_from(labels)
        return all(name in own and p.match(own[name]) for name, p in self.labels.items())


class Overrides(_Strict):
    """All calendars and entries of a file."""

    calendars: dict[str, Calendar] = Field(
        default_factory=dict, description="The calendars, by a name of your choice."
    )
    series: tuple[SeriesRule, ...] = Field(
        default=(),
        description="The rules, in order; if several match a series, later ones win.",
    )

    @model_validator(mode="after")
    def _calendars_known(self) -> Self:
        faults = [
            f"series.{at}: no calendar {rule.calendar!r}"
            for at, rule in enumerate(self.series)
            if rule.calendar is not None and rule.calendar not in self.calendars
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file's content.

        Raises:
            OverridesError: it cannot be read, is not TOML, or has faults, all of which are named.
        """
        try:
            return cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise OverridesError(f"{path}: " + "; ".join(faults(cls, error))) from None
        except SettingsError as error:
            raise OverridesError(str(error)) from None

    @cached_property
    def _matchers(self) -> tuple[_Matcher, ...]:
        return tuple(_Matcher(rule) for rule in self.series)

    @cached_property
    def _of_item(self) -> Any:
        return lru_cache(maxsize=10_000)(
            lambda item: tuple(m for m in self._matchers if m.item.match(item))
        )

    def of(self, host: str, item: str, labels: str) -> dict[str, Any]:
        """The fields that are set for a series (``labels``: canonical text)."""
        found: dict[str, Any] = {}
        for matcher in self._of_item(item):
            if matcher.fits(host, labels):
                given = matcher.rule.model_dump(exclude_none=True, exclude={*_PATTERNS})
                found |= given
        return found
