"""The predictor's settings: resolution, horizon, which series, which forecasters."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.predictor.forecasters import REGISTRY, registered
from shared.items import Behaviour
from shared.setting_names import meant
from shared.settings import ServiceSettings

DAY_S = 86_400


def _unknown(name: str) -> str:
    return f"no forecaster {name!r}{meant(name, registered())}"


class EngineSettings(BaseModel):
    """How histories are kept and forecast; the same for all series."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution_s: float = Field(
        default=3600,
        gt=0,
        le=DAY_S,
        description="One point of history is the mean of so many seconds.",
    )
    points: int = Field(
        default=672,
        ge=24,
        le=1000,
        description="The number of points of history that are kept of each series.",
    )
    horizon: int = Field(
        default=24,
        ge=1,
        le=500,
        description="The number of steps, each of resolution_s, that are forecast.",
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
        description="After so many steps the model of a series is chosen anew; sooner while its "
        "history is short.",
    )
    rest_steps: int = Field(
        default=6,
        ge=0,
        description="Steps a series rests after a forecast that did not cross, unless it leaves"
        " that forecast's interval.",
    )
    revisit_steps: int = Field(
        default=2,
        ge=1,
        description="Steps from a forecast that predicts an alarm to the series' next, unless it"
        " leaves that forecast's interval.",
    )
    folds: int = Field(
        default=4,
        ge=1,
        le=50,
        description="The number of moments of the past from which a backtest forecasts, at most.",
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
        description="The number of points of history that go into an event for its plot.",
    )
    withdraw_after: int = Field(
        default=2,
        ge=1,
        description="So many forecasts in a row that cross no threshold withdraw a prediction.",
    )
    alarm_probability: float | None = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Predicted, too, from this probability of reaching the threshold on, where the"
        " mean stays clear of it; None: only where the mean crosses.",
    )
    thresholds: dict[str, float] = Field(
        default_factory=dict, description="Alarm thresholds by item, in place of the catalogue's."
    )
    behaviours: dict[str, Behaviour] = Field(
        default_factory=dict,
        description="The behaviour of an item, stable or volatile, in place of what is measured.",
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
        """At least one millisecond."""
        return max(1, round(self.resolution_s * 1000))

    @property
    def season(self) -> int:
        """Steps of a day."""
        return max(2, round(DAY_S / self.resolution_s))


class Settings(ServiceSettings):
    """``BAROGRAPH_PREDICTOR_…``; ``ENGINE`` takes JSON."""

    REGISTRIES: ClassVar = (REGISTRY,)

    engine: EngineSettings = Field(
        default=EngineSettings(), description="How series are forecast, as JSON."
    )
    snapshot_every_s: float = Field(
        default=10, gt=0, description="The pause between two snapshots of what was learned."
    )
    snapshots: Literal["file", "s3"] = Field(
        default="file",
        description="Whether snapshots are kept in STATE_DIR or in the object store.",
    )
