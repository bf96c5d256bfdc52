"""The reasons for which people were or were not notified of an alert."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.healer.api.dependencies import Provided
from services.healer.incidents.answers import ANSWERED, Answered
from services.healer.people.reachability import problems
from services.healer.people.unheard import Unheard, unheard
from services.healer.people.why import NotificationView, Story, notification_views, story, why
from shared.time_zones import Moment

routes = APIRouter(tags=["alerts"])
_AGENTS = 10_000
_MAX_ASKED = 200


class Reachability(BaseModel):
    """The obstacles to reaching people, if any."""

    problems: tuple[str, ...]
    agents: tuple[Answered, ...] = ()
    """The node agents that have answered, and when each did last."""
    unheard: tuple[Unheard, ...] = ()
    """Open critical alerts of which nobody was notified, the oldest first."""
    canary_every_s: float = 0
    """Pause between the canary's rounds; 0: there are none."""


@routes.get("/alerts/{alert_id}/narrative")
def narrative(healer: Provided, alert_id: str) -> Story:
    """Show what was observed, decided and sent about one alert, open or ended."""
    channels = healer.settings.all_channels
    with healer.unit() as unit:
        return story(alert_id, channels, healer.context(unit.records))


@routes.get("/notifications")
def notifications(
    healer: Provided,
    alert_id: Annotated[list[str], Query(min_length=1, max_length=_MAX_ASKED)],
) -> dict[str, NotificationView]:
    """Show how far people are notified of each of these alerts; unknown ones are left out."""
    with healer.unit() as unit:
        return notification_views(dict.fromkeys(alert_id), healer.context(unit.records))


@routes.get("/why")
def of_machine(
    healer: Provided,
    host: Annotated[str, Query(min_length=1, max_length=253)],
    item: Annotated[str, Query(max_length=300)] = "",
    at: Moment | None = None,
) -> list[Story]:
    """Show the narratives of a machine's alerts, newest first; with ``at``, of those open then."""
    channels = healer.settings.all_channels
    with healer.unit() as unit:
        return why(host, item, at, channels, healer.context(unit.records))


@routes.get("/reachability")
def reachability(healer: Provided) -> Reachability:
    """List what would keep a critical alert from reaching people; empty: nothing."""
    with healer.unit() as unit:
        context = healer.context(unit.records)
        found, missed = problems(healer.settings, context), unheard(context)
        agents = unit.records.find(ANSWERED, newest_first=True, limit=_AGENTS)
    return Reachability(
        problems=tuple(found),
        agents=tuple(agents),
        unheard=tuple(missed),
        canary_every_s=healer.settings.canary_every_s,
    )
