"""Pages of alerts, of one incident, and of forecasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse

from services.client.alerts.chain import chain
from services.client.alerts.filters import Filter
from services.client.alerts.model import AlertModel
from services.client.alerts.plot import Plot, plot
from services.client.alerts.records import OPEN_RANKS, RESOLVED, Episode
from services.client.alerts.timeline import timeline, with_predictions
from services.client.api.dependencies import Provided
from services.client.api.narrative import notifications_of, story_of
from services.client.api.paging import address, neighbours
from services.client.series.addresses import way_of

_PAGE, _MAX_DRAWN = 100, 10
_TEXT = Query(max_length=200)
_OFFSET = Query(ge=0, le=1_000_000)
State = Literal["", "open", "predicted", "firing", "resolved"]
GroupedBy = Literal["", "host", "item"]
SeverityName = Literal["", "critical", "warning", "info"]
AlertId = Annotated[str, Path(max_length=36, pattern=r"^[0-9a-f-]{36}$")]
routes = APIRouter(include_in_schema=False)


@routes.get("/alerts")
def alerts(
    client: Provided,
    state: State = "",
    severity: SeverityName = "",
    host: Annotated[str, _TEXT] = "",
    item: Annotated[str, _TEXT] = "",
    search: Annotated[str, _TEXT] = "",
    group: GroupedBy = "",
    offset: Annotated[int, _OFFSET] = 0,
) -> HTMLResponse:
    wanted = Filter(state=state, severity=severity, host=host, item=item, search=search)
    counts, asked = client.alerts.counts(), wanted.model_dump()
    shown = {
        "here": "alerts",
        "wanted": wanted,
        "group": group,
        "filtered": any(asked.values()),
        "open_alerts": sum(counts[rank] for rank in OPEN_RANKS),
        "ended_alerts": counts[RESOLVED],
    }
    if group:
        return client.page("alerts.html", **shown, **_grouped(client.alerts, wanted, group))
    found = client.alerts.alerts(wanted, _PAGE + 1, offset)
    still_open = [each.alert_id for each in found[:_PAGE] if each.is_open]
    return client.page(
        "alerts.html",
        alerts=found[:_PAGE],
        notifications=notifications_of(still_open, client.healer),
        **shown,
        **neighbours("/alerts", asked, offset, _PAGE, more=len(found) > _PAGE),
    )


def _grouped(model: AlertModel, wanted: Filter, by: Literal["host", "item"]) -> dict[str, Any]:
    """The groups of the wanted alerts, each with the address of its own list."""
    groups, complete = model.groups(wanted, by)
    asked = wanted.model_dump()
    listed = [(each, address("/alerts", asked | {by: each.name})) for each in groups[:_PAGE]]
    complete = complete and len(groups) <= _PAGE
    return {"groups": listed, "complete": complete, "before": None, "behind": None}


@routes.get("/alerts/{alert_id}")
def incident(client: Provided, alert_id: AlertId) -> HTMLResponse:
    found = client.alerts.incident(alert_id)
    if found is None:
        what = "There is no such alert; an ended one is kept for 30 days."
        return client.page("missing.html", 404, here="alerts", what=what)
    alert, now = found.alert, datetime.now(UTC)
    name = f"{alert.item} on {alert.host}"
    story = story_of(alert_id, client.healer)
    ahead = next((e for e in found.episodes if e.kind == "prediction"), None)
    crossing = (ahead.earliest_ms, ahead.latest_ms) if ahead else (None, None)
    return client.page(
        "incident.html",
        here="alerts",
        incident=found,
        alert=alert,
        judgement=client.alerts.judgements.of(alert_id),
        story=story,
        chain=chain(found, now),
        entries=with_predictions(story.entries, found) if story else timeline(found),
        curve=found.curve,
        plot=plot(found.curve, alert.item, name, crossing) if found.curve else None,
        series_way=way_of(alert),
        over=not alert.is_open,
        healer=client.settings.healer_url.rstrip("/"),
        now=now,
    )


@routes.get("/forecasts")
def forecasts(
    client: Provided,
    host: Annotated[str, _TEXT] = "",
    item: Annotated[str, _TEXT] = "",
    search: Annotated[str, _TEXT] = "",
    offset: Annotated[int, _OFFSET] = 0,
) -> HTMLResponse:
    wanted = Filter(host=host, item=item, search=search)
    asked = {"host": host, "item": item, "search": search}
    if any(asked.values()):
        found = client.alerts.wanted_forecasts(wanted, _PAGE + 1, offset)
    else:
        found = client.alerts.forecasts(_PAGE + 1, offset)
    alerts_of = client.alerts.alerts_of(found[:_PAGE])
    return client.page(
        "forecasts.html",
        here="forecasts",
        wanted=wanted,
        filtered=any(asked.values()),
        planned=client.alerts.planned(alerts_of.values()),
        forecasts=[(e, way_of(e), alerts_of.get(e.event_id)) for e in found[:_PAGE]],
        plots={e.event_id: _drawn(client.alerts, e) for e in found[:_MAX_DRAWN]},
        total=client.alerts.open_forecasts(),
        now=datetime.now(UTC),
        **neighbours("/forecasts", asked, offset, _PAGE, more=len(found) > _PAGE),
    )


def _drawn(model: AlertModel, episode: Episode) -> Plot | None:
    """The forecast as its newest event drew it."""
    curve = model.curve(episode.event_id)
    crossing, name = (episode.earliest_ms, episode.latest_ms), f"{episode.item} on {episode.host}"
    return plot(curve, episode.item, name, crossing) if curve else None
