"""The predictor's settings: resolution, horizon, which series, which forecasters."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.predictor.forecasters import REGISTRY, registered
from shared.items import Behaviour
from shared.setting_names import meant
from shared.settings import ServiceSettings

DAY_S = 86_400
_HISTORY_A_HORIZON = 4
"""A history must be at least this many times as long as a horizon."""


def _unknown(name: str) -> str:
    return f"no forecaster {name!r}{meant(name, registered())}"


class EngineSettings(BaseModel):
    """The settings of histories and forecasts, the same for all series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution_s: float = Field(
        default=3600,
        gt=0,
        le=DAY_S,
        description="The length of a step; each point of history is the mean of one.",
    )
    points: int = Field(
        default=672,
        ge=24,
        le=1000,
        description="The number of points of history that are kept for each series.",
    )
    horizon: int = Field(
        default=24,
        ge=1,
        le=500,
        description="The number of steps, each of resolution_s, that are forecast.",
    )
    days_ahead: dict[str, Annotated[float, Field(gt=0, le=90)]] = Field(
        default={"df.bytes.used.percent": 7, "df.inodes.used.percent": 7},
        description="The items whose series are forecast so many days ahead instead of horizon "
        "steps, as far as that is no more than a quarter of points, and half of a series' history.",
    )
    min_points: int = Field(
        default=20, ge=3, description="A series with fewer points of history is not forecast."
    )
    budget_per_step: int = Field(
        default=2000,
        ge=1,
        description="The number of series of a partition that are forecast within one step; the "
        "others wait for the next.",
    )
    reselect_steps: int = Field(
        default=168,
        ge=1,
        description="The number of steps after which a series' model is selected again; sooner "
        "while its history is short.",
    )
    rest_steps: int = Field(
        default=6,
        ge=0,
        description="The number of steps for which a series is not forecast again after a "
        "forecast that does not cross, unless it leaves that forecast's interval.",
    )
    revisit_steps: int = Field(
        default=2,
        ge=1,
        description="The number of steps after which a series with a predicted alarm is forecast "
        "again; sooner if it leaves that forecast's interval.",
    )
    folds: int = Field(
        default=4,
        ge=1,
        le=50,
        description="The largest number of origins of a backtest.",
    )
    preference: float = Field(
        default=6.0,
        ge=0,
        le=100,
        description="A forecaster weighs as its error on the series' backtest to the power of minus"
        " this: 0 weighs all alike, a large one lets the best speak alone.",
    )
    plotted: int = Field(
        default=168,
        ge=0,
        le=1000,
        description="The number of points of history in an event, for its plot.",
    )
    withdraw_after: int = Field(
        default=2,
        ge=1,
        description="The number of consecutive forecasts without a crossing that withdraw a "
        "prediction.",
    )
    series_ended_after_s: float = Field(
        default=3600,
        ge=1,
        le=31_536_000,
        description="A prediction is withdrawn when its series has sent nothing for this time, and "
        "for three steps.",
    )
    max_clock_step_s: float = Field(
        default=60,
        gt=0,
        description="If the time of a partition's samples jumps by more than this, the samples "
        "were delayed and no series counts as ended.",
    )
    alarm_probability: float | None = Field(
        default=0.5,
        gt=0,
        le=1,
        description="An alarm is also predicted if the threshold is reached with at least this "
        "probability although the mean stays clear of it; null: only if the mean crosses.",
    )
    thresholds: dict[str, float] = Field(
        default_factory=dict, description="Alarm thresholds by item, instead of the catalogue's."
    )
    behaviours: dict[str, Behaviour] = Field(
        default_factory=dict,
        description="The behaviour of items, stable or volatile, instead of what is measured.",
    )
    models: dict[Behaviour, tuple[str, ...]] = Field(
        default={
            Behaviour.STABLE: ("arima", "theta", "ridge"),
            Behaviour.VOLATILE: ("arima", "theta", "ridge"),
        },
        description="The models that are weighed against the simple forecasters, by behaviour.",
    )
    forecasters: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="The settings of forecasters, by the forecaster's name."
    )

    @field_validator("forecasters")
    @classmethod
    def _known(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        faults = [_unknown(name) for name in value if name not in registered()]
        if faults:
            raise ValueError("; ".join(faults) + f"; there are {', '.join(registered())}")
        for name, fields in value.items():
            registered()[name](**fields)
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: (one,) if isinstance(one, str) else one for key, one in value.items()}

    @field_validator("models")
    @classmethod
    def _registered(
        cls, value: dict[Behaviour, tuple[str, ...]]
    ) -> dict[Behaviour, tuple[str, ...]]:
        names = [name for models in value.values() for name in models]
        faults = [_unknown(name) for name in names if name not in registered()]
        faults += [f"no model for {kind} series" for kind in Behaviour if not value.get(kind)]
        if faults:
            raise ValueError("; ".join(faults) + f"; there are {', '.join(registered())}")
        return value

    @property
    def resolution_ms(self) -> int:
        """The step in milliseconds, at least one."""
        return max(1, round(self.resolution_s * 1000))

    def furthest(self, item: str) -> int:
        """Steps that a series of the item is forecast, once its history is long enough."""
        steps = round(self.days_ahead.get(item, 0.0) * DAY_S / self.resolution_s)
        return steps if self.horizon < steps <= self.points // _HISTORY_A_HORIZON else self.horizon

    def ahead(self, furthest: int, points: int) -> int:
        """Steps that a series with so many points of history is forecast."""
        return max(self.horizon, min(furthest, points // 2))

    @property
    def season(self) -> int:
        """Steps of a day."""
        return max(2, round(DAY_S / self.resolution_s))


class Settings(ServiceSettings):
    """``BAROGRAPH_PREDICTOR_…``; ``ENGINE`` takes JSON."""

    REGISTRIES: ClassVar = (REGISTRY,)

    engine: EngineSettings = Field(
        default=EngineSettings(), description="The settings by which series are forecast, as JSON."
    )
    snapshot_every_s: float = Field(
        default=10, gt=0, description="The interval between two snapshots of the learned state."
    )
    snapshots: Literal["file", "s3"] = Field(
        default="file",
        description="The place of snapshots: STATE_DIR or the object store.",
    )
