"""The route that ranks recorded metrics by their association with an alarm."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase

from fastapi import APIRouter
from pydantic import BaseModel

from services.healer.api.dependencies import Healer, Provided
from services.healer.correlation.recorded import Recorded, related
from services.healer.model.incident import INCIDENTS

routes = APIRouter(tags=["alerts"])
_MAX_INCIDENTS = 50_000


class Association(BaseModel):
    """One metric's relation to the alarms."""

    metric: str
    related: bool
    """True if z is above 1.96."""
    z: float
    """The likeness of windows before alarms, in standard deviations above chance."""
    gain_ratio: float
    """Information about the alarm in level or movement, by which related metrics are ordered."""
    windows: int
    """The number of windows before alarms that could be used."""


class Associations(BaseModel):
    """The metrics related to an alarm, the strongest first."""

    alarms: int
    """The number of alarms that were given, or are known of the item."""
    metrics: list[Association]
    """The metrics, related ones first."""


@routes.post("/associations")
def associations(healer: Provided, recorded: Recorded) -> Associations:
    """Rank metrics by how they change before an alarm (nearest-neighbour two-sample test)."""
    alarms = list(recorded.alarms) or _known(healer, recorded)
    found = [Association.model_validate(asdict(one)) for one in related(recorded, alarms)]
    return Associations(alarms=len(alarms), metrics=found)


def _known(healer: Healer, recorded: Recorded) -> list[float]:
    with healer.unit() as unit:
        incidents = unit.records.find(INCIDENTS, limit=_MAX_INCIDENTS, newest_first=True)
    return [
        incident.opened_at.timestamp()
        for incident in incidents
        if incident.series.item == recorded.item
        and fnmatchcase(incident.series.host, recorded.hosts)
    ]
