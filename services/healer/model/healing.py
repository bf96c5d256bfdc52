"""The record of when a series was last healed."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.store import Collection


class Healing(BaseModel):
    """The last improvement of a series by a remediation or a person."""

    model_config = ConfigDict(frozen=True)

    key: str
    """The key of the series; see ``series_key``."""
    time_ms: int
    due: AwareDatetime


HEALINGS = Collection("healings", Healing, key=lambda h: h.key, due=lambda h: h.due)
