"""Recorded metrics, resampled to equal steps for the test of association."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

from services.healer.correlation.association import Floats, Related, associate
from shared.contracts.healing import HostPattern

_MAX_STEPS = 200_000
_MAX_VALUES = 4_000_000
"""The largest product of metrics and steps: 32 MB of numbers."""
_MAX_SAMPLES = 1_000_000
_MAX_ALARMS = 300
"""The most alarms that are examined, the newest: the test compares every two windows."""


Time = Annotated[float, Field(ge=-1e11, le=1e11)]
"""Unix time in seconds, within bounds beyond which differences would overflow."""
Value = Annotated[float, Field(ge=-1e150, le=1e150)]
"""A value whose square is still a number."""


# The bound also has pydantic refuse half a surrogate pair, with which no answer can be written.
MetricName = Annotated[str, Field(max_length=1000)]
# One fault of each metric is enough to mend it; one of each sample would fill the memory.
Samples = Annotated[tuple[tuple[Time, Value], ...], FailFast()]
Times = Annotated[tuple[Time, ...], FailFast()]


class Recorded(BaseModel):
    """The metrics of one machine or group, and the times of the alarm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[MetricName, Samples] = Field(
        min_length=1,
        max_length=2000,
        description="The samples of each metric by its "
        "name: pairs of Unix time in seconds and value.",
    )
    alarms: Times = Field(
        default=(),
        max_length=_MAX_SAMPLES,
        description="The times of the alarms, as Unix time in seconds.",
    )
    item: str = Field(
        default="",
        max_length=200,
        description="The item whose known alarms are used if `alarms` is empty.",
    )
    hosts: HostPattern = Field(
        default="*",
        description="A shell pattern of the machines whose alarms of the item are used.",
    )
    step_s: float | None = Field(
        default=None,
        ge=1e-3,
        le=1e9,
        description="The seconds of one step; by default the median distance of the samples.",
    )
    window: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="The number of steps before an alarm that are examined.",
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if bool(self.alarms) == bool(self.item):
            msg = "give either alarms or the item whose alarms are meant"
            raise ValueError(msg)
        on_steps(self.columns(), self.step_s)
        return self

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Each metric's samples, shape (n, 2): time in s, value."""
        return {
            name: np.asarray(samples, dtype=np.float64).reshape(-1, 2)
            for name, samples in self.metrics.items()
        }


def related(recorded: Recorded, alarms: Sequence[float]) -> list[Related]:
    """Every metric's relation to the alarms (Unix times, s), related ones first."""
    metrics, begin, step_s = on_steps(recorded.columns(), recorded.step_s)
    # The first step that the alarm did not precede is not one of those before it.
    places = [math.ceil(round((at - begin) / step_s, 6)) for at in alarms]
    return associate(metrics, sorted(places)[-_MAX_ALARMS:], window=recorded.window)


def on_steps(
    columns: Mapping[str, NDArray[np.float64]], step_s: float | None = None
) -> tuple[dict[str, Floats], float, float]:
    """Values at equal steps, NaN where there is none; the first step's time; the step's length.

    Args:
        columns: name to an array of shape (n, 2), time in s and value; the last one of a step
            counts.
        step_s: its length; None: the median distance of samples, over all metrics.

    Raises:
        ValueError: when there is no step, or there are too many.
    """
    filled = {name: column for name, column in columns.items() if len(column)}
    gaps = [np.diff(np.sort(column[:, 0])) for column in filled.values()]
    apart = np.concatenate(gaps) if gaps else np.empty(0)
    apart = apart[apart > 0]
    if step_s is None and not len(apart):
        raise ValueError("there are no two samples of one metric: no step to go by")
    step_s = step_s or float(np.median(apart))
    begin = min(float(column[:, 0].min()) for column in filled.values()) if filled else 0.0
    end = max(float(column[:, 0].max()) for column in filled.values()) if filled else 0.0
    steps = round(min((end - begin) / step_s, 2 * _MAX_STEPS)) + 1
    if steps > _MAX_STEPS:
        raise ValueError(f"{steps} steps of {step_s:g} s; at most {_MAX_STEPS} can be compared")
    if steps * len(columns) > _MAX_VALUES:
        raise ValueError(
            f"{len(columns)} metrics at {steps} steps are more than {_MAX_VALUES} values; "
            "give fewer metrics, a longer step_s or a shorter time"
        )
    found = {}
    for name, column in columns.items():
        values = np.full(steps, np.nan)
        ordered = column[np.argsort(column[:, 0], kind="stable")]
        values[np.rint((ordered[:, 0] - begin) / step_s).astype(int)] = ordered[:, 1]
        found[name] = values
    return found, begin, step_s
