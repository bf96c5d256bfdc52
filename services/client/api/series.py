"""Pages and API of a series: searched by name, shown as its detector and predictor see it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, ValidationError

from services.client.alerts.plot import plot
from services.client.alerts.records import Curve
from services.client.api.dependencies import Provided
from services.client.api.faults import refusal
from services.client.questions import Questions
from services.client.series.addresses import query_of
from services.client.series.picture import DAY_MS, Picture, Window, picture_of
from shared.contracts import Curve as KnownCurve
from shared.contracts import CurveAnswered, SeriesFound, SeriesRef
from shared.time_zones import at_ms
from shared.validation import problem_of

_MAX_LISTED, _DAY_SPANS = 200, (1, 7, 28)
_Text = Annotated[str, Query(max_length=200)]
_Label = Annotated[list[str] | None, Query(description="name=value, as often as needed.")]
_Moment = Annotated[str, Query(max_length=40)]


class SeriesPage(BaseModel):
    """Series that match a search."""

    series: list[SeriesRef]
    more: bool = Field(description="True if there are further ones: search more narrowly.")
    complete: bool = Field(description="True if every partition of the series has answered.")


class CurveAnswer(BaseModel):
    """The models' knowledge of one series."""

    series: SeriesRef
    detector: KnownCurve | None = Field(
        description="The detector's part: newest values, usual range and votes."
    )
    predictor: KnownCurve | None = Field(
        description="The predictor's part: history of means, and present forecast."
    )
    notes: list[str] = Field(description="The parts of the answer that are missing, and why.")


routes = APIRouter(tags=["series"])


@routes.get("/series")
def series(
    client: Provided,
    host: _Text = "",
    item: _Text = "",
    search: _Text = "",
    limit: Annotated[int, Query(ge=1, le=500)] = _MAX_LISTED,
) -> SeriesPage:
    """Find series by parts of their names, ignoring case."""
    return _page_of(client.questions.search(host, item, search, limit), limit)


@routes.get("/curve")
def curve(client: Provided, host: _Text, item: _Text, label: _Label = None) -> CurveAnswer:
    """Show what the models know of one series now."""
    answers, picture = _asked(client.questions, _series(host, item, label or []), Window())
    curves = {each.source: each.curve for each in answers}
    return CurveAnswer(
        series=picture.series,
        detector=curves.get("detector"),
        predictor=curves.get("predictor"),
        notes=list(picture.notes),
    )


@routes.get("/curve.csv", response_class=Response)
def table(
    client: Provided,
    host: _Text,
    item: _Text,
    label: _Label = None,
    begin: Annotated[_Moment, Query(alias="from")] = "",
    until: _Moment = "",
) -> Response:
    """Show the curve as a table with the columns what, time, value, lower and upper."""
    window = Window(_milliseconds(begin, "from"), _milliseconds(until, "until"))
    _, picture = _asked(client.questions, _series(host, item, label or []), window)
    headers = {"content-disposition": 'attachment; filename="series.csv"'}
    return Response(picture.csv(), media_type="text/csv; charset=utf-8", headers=headers)


pages = APIRouter(include_in_schema=False)


@pages.get("/metrics")
def metrics(
    client: Provided, host: _Text = "", item: _Text = "", search: _Text = ""
) -> HTMLResponse:
    found = _page_of(client.questions.search(host, item, search, _MAX_LISTED), _MAX_LISTED)
    wanted = {"host": host, "item": item, "search": search}
    listed = [{"series": each, "way": f"/metrics/series?{query_of(each)}"} for each in found.series]
    return client.page("metrics.html", here="metrics", found=found, listed=listed, wanted=wanted)


@pages.get("/metrics/series")
def series_page(
    client: Provided,
    host: _Text,
    item: _Text,
    label: _Label = None,
    begin: Annotated[_Moment, Query(alias="from")] = "",
    until: _Moment = "",
    threshold: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    asked = _series(host, item, label or [])
    window = Window(_milliseconds(begin, "from"), _milliseconds(until, "until"))
    _, picture = _asked(client.questions, asked, window)
    limit = _number(threshold) if threshold.strip() else picture.threshold
    tried = None
    if limit is not None and picture.week:
        points = picture.lasting()
        tried = client.questions.threshold(asked, limit, points, above=picture.above)
    shown = _shown(picture, window) | {"limit": limit, "tried": tried}
    return client.page("series.html", here="metrics", **shown)


def _page_of(found: Sequence[SeriesFound], limit: int) -> SeriesPage:
    series = [each for part in found for each in part.series]
    series.sort(key=lambda each: (each.host, each.item, each.text()))
    return SeriesPage(
        series=series[:limit],
        more=len(series) > limit or any(part.more for part in found),
        complete=bool(found) and len({part.partition for part in found}) >= found[0].partitions,
    )


def _series(host: str, item: str, labels: Sequence[str]) -> SeriesRef:
    pairs = [label.partition("=") for label in labels]
    faulty = [name or "''" for name, sign, _ in pairs if not (name and sign)]
    if faulty:
        raise refusal(422, f"{', '.join(faulty)}: a label is written name=value", "label")
    try:
        named = {name: value for name, _, value in pairs}
        return SeriesRef(host=host, item=item, labels=named)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise refusal(
            422, "; ".join(problem_of(each) for each in found), str(found[0]["loc"][0])
        ) from None


def _asked(
    questions: Questions, series: SeriesRef, window: Window
) -> tuple[list[CurveAnswered], Picture]:
    answers = questions.curve(series)
    picture = picture_of(series, answers, window)
    if picture is None:
        raise refusal(404, f"no detector has seen a series {series.text()}", "series")
    return answers, picture


def _shown(picture: Picture, window: Window) -> dict[str, Any]:
    curve = Curve(
        event_id="",
        received_at=datetime.now(UTC),
        threshold=picture.threshold,
        recent=picture.line,
        band=picture.band,
        forecast=picture.forecast,
    )
    own = query_of(picture.series)
    return {
        "picture": picture,
        "plot": plot(curve, picture.series.item, picture.series.text()),
        "window": window,
        "own": own,
        "spans": list(_spans(picture, own)),
        "ways": _ways(picture, own),
        "table": f"/api/v1/curve.csv?{own}{_window_query(window.from_ms, window.until_ms)}",
    }


def _spans(picture: Picture, own: str) -> Any:
    newest = max((each[0] for each in picture.line), default=None)
    yield "All", f"/metrics/series?{own}"
    if newest is not None:
        yield "Newest values", f"/metrics/series?{own}{_window_query(_begin(picture), None)}"
        for days in _DAY_SPANS:
            query = _window_query(newest - days * DAY_MS, None)
            yield f"{days} {'day' if days == 1 else 'days'}", f"/metrics/series?{own}{query}"


def _begin(picture: Picture) -> int | None:
    return picture.recent[0][0] if picture.recent else None


def _ways(picture: Picture, own: str) -> list[tuple[str, str]]:
    """Half and double the time that is shown, and the times before and after it."""
    if picture.span is None:
        return []
    first, last = picture.span
    half, quarter = (last - first) // 2, (last - first) // 4
    steps = {
        "Earlier": (first - half, last - half),
        "Zoom in": (first + quarter, last - quarter),
        "Zoom out": (first - half, last + half),
        "Later": (first + half, last + half),
    }
    return [
        (name, f"/metrics/series?{own}{_window_query(begin, end)}")
        for name, (begin, end) in steps.items()
        if begin < end
    ]


def _window_query(begin: int | None, end: int | None) -> str:
    named = (("from", begin), ("until", end))
    asked = {name: _iso(time_ms) for name, time_ms in named if time_ms is not None}
    return f"&{urlencode(asked)}" if asked else ""


def _iso(time_ms: int) -> str:
    return at_ms(time_ms).strftime("%Y-%m-%dT%H:%M:%S")


def _milliseconds(text: str, field: str) -> int | None:
    """A moment as ISO 8601 writes it, in UTC where it names no zone; None for none."""
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise refusal(422, "a time is written as 2026-01-31T14:30", field) from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise refusal(422, "it must be a number", "threshold")
    return value
