"""Pages of alerts, of one incident, and of forecasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse

from services.client.alerts.model import AlertModel, Filter
from services.client.alerts.plot import Plot, plot
from services.client.alerts.records import OPEN_RANKS, RESOLVED, Episode
from services.client.alerts.timeline import timeline
from services.client.api.dependencies import Provided
from services.client.api.narrative import story_of
from services.client.series.addresses import way_of
from shared.contracts.alerts import AlertState

_PAGE, _MAX_DRAWN = 100, 10
_TEXT = Query(max_length=200)
_OFFSET = Query(ge=0, le=1_000_000)
State = Literal["", "open", "predicted", "firing", "resolved"]
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
    offset: Annotated[int, _OFFSET] = 0,
) -> HTMLResponse:
    wanted = Filter(state=state, severity=severity, host=host, item=item, search=search)
    found = client.alerts.alerts(wanted, _PAGE + 1, offset)
    counts = client.alerts.counts()
    return client.page(
        "alerts.html",
        here="alerts",
        alerts=found[:_PAGE],
        wanted=wanted,
        now=datetime.now(UTC),
        open_alerts=sum(counts[rank] for rank in OPEN_RANKS),
        ended_alerts=counts[RESOLVED],
        **_ways("/alerts", wanted.model_dump(), offset, more=len(found) > _PAGE),
    )


@routes.get("/alerts/{alert_id}")
def incident(client: Provided, alert_id: AlertId) -> HTMLResponse:
    found = client.alerts.incident(alert_id)
    if found is None:
        what = "There is no such alert; an ended one is kept for 30 days."
        return client.page("missing.html", 404, here="alerts", what=what)
    name = f"{found.alert.item} on {found.alert.host}"
    story = story_of(alert_id, client.healer)
    return client.page(
        "incident.html",
        here="alerts",
        incident=found,
        alert=found.alert,
        story=story,
        entries=story.entries if story else timeline(found),
        curve=found.curve,
        plot=plot(found.curve, name) if found.curve else None,
        series_way=way_of(found.alert),
        over=found.alert.state is AlertState.RESOLVED,
        healer=client.settings.healer_url.rstrip("/"),
        now=datetime.now(UTC),
    )


@routes.get("/forecasts")
def forecasts(client: Provided, offset: Annotated[int, _OFFSET] = 0) -> HTMLResponse:
    found = client.alerts.forecasts(_PAGE + 1, offset)
    return client.page(
        "forecasts.html",
        here="forecasts",
        forecasts=[(each, way_of(each)) for each in found[:_PAGE]],
        plots={e.event_id: _drawn(client.alerts, e) for e in found[:_MAX_DRAWN]},
        total=client.alerts.open_forecasts(),
        **_ways("/forecasts", {}, offset, more=len(found) > _PAGE),
    )


def _drawn(model: AlertModel, episode: Episode) -> Plot | None:
    """The forecast as its newest event drew it."""
    curve = model.curve(episode.event_id)
    return plot(curve, f"{episode.item} on {episode.host}") if curve else None


def _ways(path: str, wanted: dict[str, str], offset: int, *, more: bool) -> dict[str, Any]:
    """Addresses of the pages before and behind this one, with the same filter."""

    def address(start: int) -> str:
        asked = {name: text for name, text in wanted.items() if text}
        asked |= {"offset": str(start)} if start else {}
        return f"{path}?{urlencode(asked, errors='replace')}" if asked else path

    return {
        "before": address(max(0, offset - _PAGE)) if offset else None,
        "behind": address(offset + _PAGE) if more else None,
    }
