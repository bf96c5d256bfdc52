"""When a series was healed last."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.store import Collection


class Healing(BaseModel):
    """When a series' value was last brought down by what somebody did about it."""

    model_config = ConfigDict(frozen=True)

    key: str
    """The series', see ``series_key``."""
    time_ms: int
    due: AwareDatetime


HEALINGS = Collection("healings", Healing, key=lambda h: h.key, due=lambda h: h.due)
