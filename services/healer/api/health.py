"""The health of machines and groups: reports, the map of all, one machine's last day."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from services.healer.api.dependencies import Provided
from services.healer.health.records import HEALTH, PASTS, Past, pasts
from services.healer.people.acknowledgement import NotFound
from shared.contracts import HealthReported
from shared.health_map import HealthMap, MapWanted, health_map, with_hours

routes = APIRouter(tags=["health"])
_MAX_MACHINES = 100_000
_Limit = Annotated[int, Query(ge=1, le=5000)]
_Name = Annotated[str, Query(max_length=300)]


@routes.get("/health")
def health(
    healer: Provided,
    scope: Literal["machine", "group"] = "machine",
    verdict: Literal["healthy", "watch", "sick", "unknown"] | None = None,
    limit: _Limit = 500,
) -> list[HealthReported]:
    """The latest health of machines or groups, worst first."""
    with healer.unit() as unit:
        found = unit.records.find(HEALTH, group=scope, status=verdict, limit=_MAX_MACHINES)
    return sorted(found, key=lambda report: report.score)[:limit]


@routes.get("/health-map")
def on_map(
    healer: Provided,
    verdict: Literal["", "healthy", "watch", "sick", "unknown"] = "",
    search: _Name = "",
    group: _Name = "",
    term: _Name = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    limit: _Limit = 300,
) -> HealthMap:
    """Machines in short with their last day, by group, verdict, name and term, worst first."""
    named = {each.name: each.hosts for each in healer.settings.policy.groups}
    if group and group not in named:
        raise NotFound("there is no group with this name")
    wanted = MapWanted(verdict=verdict, search=search, hosts=named.get(group, ""), term=term)
    with healer.unit() as unit:
        reports = unit.records.find(HEALTH, group="machine", limit=_MAX_MACHINES)
        groups = unit.records.find(HEALTH, group="group", limit=_MAX_MACHINES)
        shown = health_map(reports, groups, wanted, offset, limit)
        return with_hours(shown, pasts(unit.records, [each.name for each in shown.machines]))


@routes.get("/health/{name}")
def one(healer: Provided, name: str) -> HealthReported:
    """A machine's latest health, with every term of its score."""
    with healer.unit() as unit:
        found = unit.records.get(HEALTH, f"machine/{name}")
    if found is None:
        raise NotFound("the health of no such machine has been reported")
    return found


@routes.get("/health/{name}/hours")
def hours(healer: Provided, name: str) -> Past:
    """A machine's last day, hour by hour, from which its trend and use are derived."""
    with healer.unit() as unit:
        past = unit.records.get(PASTS, name)
    if past is None:
        raise NotFound("no hour of such a machine has ended yet")
    return past
