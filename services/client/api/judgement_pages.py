"""The page of what people called no anomalies, where it is undone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from services.client.alerts.judgements import Judgement
from services.client.api.dependencies import Provided
from services.client.api.paging import neighbours

_PAGE = 100
routes = APIRouter(include_in_schema=False)


@routes.get("/judgements")
def judgements(
    client: Provided,
    search: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> HTMLResponse:
    part = search.strip().casefold()
    found = [each for each in client.alerts.judgements.in_force() if part in _text_of(each)]
    shown = found[offset : offset + _PAGE]
    known = client.alerts.known([each.alert_id for each in shown])
    return client.page(
        "judgements.html",
        here="judgements",
        judgements=shown,
        total=len(found),
        known={alert.alert_id for alert in known},
        search=search,
        **neighbours(
            "/judgements", {"search": search}, offset, _PAGE, more=len(found) > offset + _PAGE
        ),
    )


def _text_of(each: Judgement) -> str:
    return f"{each.item} {each.host} {each.labels} {each.by} {each.reason}".casefold()
