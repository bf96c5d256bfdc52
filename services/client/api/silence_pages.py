"""Silences and maintenance windows: the list, the calendar, and a form with a preview."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from services.client.alerts.records import AlertView
from services.client.api.decisions import of_alerts
from services.client.api.dependencies import Client, Provided
from services.client.api.forms import Form, SentForm
from services.client.healer_api import HealerRefused
from shared.contracts import SilenceChanged

_CALENDAR_DAYS = 14
_EMPTY = {"matchers": "", "hours": "2", "reason": "", "rule": "", "first": "", "timezone": "UTC"}
_EMPTY |= {"window_hours": "1"}
routes = APIRouter(include_in_schema=False)


@routes.get("/silences")
def silences(client: Provided, search: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    now, part = datetime.now(UTC), search.strip().casefold()
    report = client.alerts.alerting.report()
    known = sorted(client.alerts.alerting.silences(), key=lambda each: each.ends_at)
    found = [_Shown(each) for each in known]
    found = [each for each in found if part in each.searched]
    return client.page(
        "silences.html",
        here="silences",
        now=now,
        search=search,
        report=report,
        silences=[each for each in found if each.silence.ends_at > now],
        ended=[each for each in reversed(found) if each.silence.ends_at <= now][:50],
        days=_calendar([each.silence for each in found], now),
    )


@routes.get("/silences/new")
def blank(client: Provided) -> HTMLResponse:
    return client.page("silence.html", here="silences", asked=_EMPTY)


@routes.post("/silences/draft")
def draft(client: Provided, form: SentForm) -> HTMLResponse:
    chosen = of_alerts(client.alerts, form)
    asked = _EMPTY | {"matchers": _matchers_of(chosen)}
    return client.page("silence.html", here="silences", asked=asked | {"back": form.text("back")})


@routes.post("/silences/new")
def make(client: Provided, form: SentForm) -> Response:
    asked = {name: form.text(name, 4000) for name in (*_EMPTY, "back")}
    silence, wrong = _silence(asked, form), []
    preview: Any = None
    try:
        if form.text("do") == "make":
            _show(client, client.healer.ask("POST", "silences", json=silence))
            return form.back("silence", "/silences")
        preview = client.healer.ask("POST", "silences", "preview", json=silence).json()
    except HealerRefused as refused:
        wrong = refused.faults
    shown = {"asked": asked, "preview": preview, "wrong": wrong}
    return client.page("silence.html", 422 if wrong else 200, here="silences", **shown)


@routes.post("/silences/{silence_id}/end")
def end(client: Provided, silence_id: str, form: SentForm) -> Response:
    asked = client.healer.ask("DELETE", "silences", silence_id, params={"by": form.by})
    _show(client, asked)
    return form.back("unsilence", "/silences")


def _show(client: Client, answer: httpx.Response) -> None:
    """Show at once what a person made or ended; its event may come later."""
    try:
        change = SilenceChanged.model_validate(answer.json()["change"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return  # a healer of an older version: the event alone says it
    client.alerts.alerting.take(change)


@dataclass(frozen=True)
class _Shown:
    """A silence with the texts that the page shows and searches."""

    silence: SilenceChanged

    @property
    def text(self) -> str:
        return ", ".join(self.silence.matchers)

    @property
    def searched(self) -> str:
        return f"{self.text}\n{self.silence.owner}\n{self.silence.reason}".casefold()


def _calendar(silences: list[SilenceChanged], now: datetime) -> list[dict[str, Any]]:
    """Day by day, what mutes on it."""
    open_ones = [each for each in silences if each.ends_at > now]
    days = []
    for number in range(_CALENDAR_DAYS):
        begin = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=number)
        end = begin + timedelta(days=1)
        open_then = []
        for silence in open_ones:
            for window in silence.windows:
                if window.begin < end and window.end > max(begin, now):
                    first, last = max(window.begin, begin), min(window.end, end)
                    hours = f"{first:%H:%M}-{'24:00' if last == end else format(last, '%H:%M')}"
                    open_then.append((hours, silence.reason))
        days.append({"day": begin, "windows": sorted(open_then)})
    return days


def _matchers_of(alerts: Any) -> str:
    """The narrowest matchers that fit all of these alerts: one a line."""
    lines = []
    for name in ("host", "item"):
        values = sorted({getattr(alert, name) for alert in alerts})
        if len(values) == 1:
            lines.append(f"{name}={_quoted(values[0])}")
        else:
            lines.append(f"{name}=~{_quoted('|'.join(map(re.escape, values)))}")
    first: AlertView = alerts[0]
    if all(alert.labels == first.labels for alert in alerts) and first.labels:
        pairs = (pair.partition("=") for pair in first.labels.split(", "))
        lines += [f"{name}={_quoted(value)}" for name, mark, value in pairs if mark]
    return "\n".join(lines)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _silence(asked: dict[str, str], form: Form) -> dict[str, Any]:
    """The silence in the form of the healer's API, which names what is wrong with it."""
    now = datetime.now(UTC)
    try:
        length = timedelta(hours=float(asked["hours"]))
        ends_at = (now + length).isoformat()
    except (ValueError, OverflowError):
        ends_at = asked["hours"]
    # At line feeds alone: a machine's name or a label may hold what Python takes for a line's end.
    matchers = [line.strip() for line in asked["matchers"].split("\n") if line.strip()]
    silence: dict[str, Any] = {
        "matchers": matchers,
        "starts_at": now.isoformat(),
        "ends_at": ends_at,
        "owner": form.by,
        "reason": asked["reason"],
    }
    if asked["rule"]:
        silence["recurrence"] = {
            "rule": asked["rule"],
            "first": asked["first"],
            "timezone": asked["timezone"] or "UTC",
            "duration_s": _seconds(form.text("window_hours")),
        }
    return silence


def _seconds(hours: str) -> float | str:
    try:
        seconds = float(hours) * 3600
    except ValueError:
        return hours
    return seconds if math.isfinite(seconds) else hours
