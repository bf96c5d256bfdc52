"""The canary's series and the state of its round."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts import AnomalyDetected
from shared.contracts.alerts import SeriesRef
from shared.items import CANARY
from shared.store import Collection

SERIES = SeriesRef(host="barograph-canary", item=CANARY)


class CanaryState(BaseModel):
    """The state of the round."""

    model_config = ConfigDict(frozen=True)

    name: str = "canary"
    step: Literal["raise", "clear", "rest"] = "rest"
    began: AwareDatetime | None = None
    """The start of the round."""
    since: AwareDatetime | None = None
    """The start of its step."""
    ok_at: AwareDatetime | None = None
    """The end of the last complete round."""


CANARIES = Collection("canary", CanaryState, key=lambda state: state.name)


def about_canary(series: SeriesRef) -> bool:
    """Return whether it is the canary's machine: nobody is notified of it."""
    return series.host == SERIES.host


def is_its_alarm(message: AnomalyDetected) -> bool:
    """Return whether the alarm is the canary's: its ups and downs look odd to others, too."""
    return message.series == SERIES and any(v.detector == "threshold" for v in message.votes)
