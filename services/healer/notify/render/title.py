"""The title of a notification, and what it says of each alert in one sentence."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.healer.model.notice import ENDINGS, Line, Notice, Summary
from services.healer.notify.render.numbers import one_line, span
from services.healer.notify.render.story import clock_ms, is_presence, named_part, shown_name
from shared.contracts.alerts import SeriesRef
from shared.items import ITEMS
from shared.quantity import quantity
from shared.time_zones import at_ms

WORDS = {
    "predicted": "predicted",
    "firing": "alarm",
    "handled": "handled",
    "escalated": "needs you",
    "resolved": "resolved",
    "acknowledged": "acknowledged",
    "unanswered": "not acknowledged",
    "flapping": "flapping",
}
_LOOK = "please look"
_WANTED = {"firing": _LOOK, "unanswered": "please acknowledge", "flapping": "please find out why"}
_GONE = "has ended: its series sends nothing any more"
_GREEN, _RED, _AMBER, _BLUE = "#1b7f4b", "#b3261e", "#995a00", "#0057b8"
_COLOURS = {
    "predicted": _AMBER,
    "firing": _RED,
    "handled": _GREEN,
    "escalated": _RED,
    "resolved": _GREEN,
    "acknowledged": _BLUE,
    "unanswered": _RED,
    "flapping": _AMBER,
    "storm": _RED,
    "storm over": _GREEN,
    "digest": _AMBER,
    "test": _BLUE,
    "canary": _BLUE,
    "channel": _RED,
    "job": _BLUE,
}


def colour(notice: Notice | Summary) -> str:
    """The colour of the notice's kind: red calls, amber warns, green ends."""
    return _COLOURS[notice.kind]


def title(notice: Notice | Summary) -> str:
    """The title: the alert, its value, and what is expected of the reader.

    E.g. ``[critical] alarm: df.bytes.used.percent of /var on db7 is 95 %; please look``.
    """
    if isinstance(notice, Summary):
        return one_line(f"[{notice.severity}] {notice.kind}: {notice.headline}")
    others = len(notice.also) + notice.left_out
    more = f" (and {others} more)" if others else ""
    wanted = "" if _asks(notice) else _wanted(notice)
    end = more + (wanted and f"; {wanted}")
    said = f"[{notice.severity}] {word(notice)}: {where(notice.series)} {short_claim(notice)}"
    return one_line(said, 200 - len(end)) + end


def where(series: SeriesRef) -> str:
    """The item, with the part of the machine that it is about, and the machine."""
    part = one_line(named_part(series), 60)
    name = shown_name(series)
    return f"{name} of {part} on {series.host}" if part else f"{name} on {series.host}"


def _wanted(notice: Notice) -> str:
    """The expected act of the reader, in two or three words; empty if stated already."""
    if notice.kind in ENDINGS:
        return "no action needed"
    if word(notice) == WORDS["predicted"]:
        soonest_ms = notice.earliest_ms or notice.crossing_ms or 0
        ahead = soonest_ms > notice.at.timestamp() * 1000
        return f"please look before {clock_ms(soonest_ms, notice.at)} UTC" if ahead else _LOOK
    return _WANTED.get(notice.kind, "")


def word(notice: Notice | Line) -> str:
    """The kind of notice in words: an alarm is a threshold crossed, an anomaly is unlike itself."""
    if notice.kind == "firing" and notice.signal != "prediction":
        return notice.signal
    return WORDS["predicted" if notice.kind == "firing" else notice.kind]


def short_claim(notice: Notice) -> str:
    """The matter, after the series' name, and whether an approval is wanted."""
    approval = f"; {notice.remediation} needs your approval" if _asks(notice) else ""
    return f"{_claim(notice)}{approval}"


def _asks(notice: Notice) -> bool:
    """Return whether somebody is to approve a remediation."""
    return bool(notice.approval_id and notice.remediation) and notice.kind not in ENDINGS


def _claim(notice: Notice) -> str:
    match notice.kind:
        case "handled":
            return f"is out of danger: {notice.outcome}" if notice.outcome else "is out of danger"
        case "resolved":
            cleared = f"has cleared: {notice.outcome}" if notice.outcome else "has cleared"
            return _GONE if notice.gone else cleared
        case "flapping":
            return "keeps firing and resolving"
        case "acknowledged":
            return f"was acknowledged by {notice.acknowledged_by}"
        case _ if notice.crossing_ms is not None and notice.threshold is not None:
            return _to_come(notice, notice.crossing_ms, notice.threshold)
        case _:
            return f"is {_state_of(notice)}"


def _state_of(notice: Notice) -> str:
    if is_foreign(notice):
        return _firing(notice)
    silent = ": nothing is received" if is_presence(notice.series) else ""
    return f"{quantity(notice.value, notice.unit)}{silent}"


def is_foreign(alert: Notice | Line) -> bool:
    """Return whether it comes from another system; its number, if any, has no known unit."""
    return alert.signal == "alarm" and alert.threshold is None


def _firing(alert: Notice | Line) -> str:
    return f"firing: {one_line(alert.sentence, 100).rstrip('.')}"


def _to_come(notice: Notice, crossing_ms: int, threshold: float) -> str:
    limit = quantity(threshold, notice.unit)
    ahead = at_ms(crossing_ms) - notice.at
    if ahead <= timedelta():
        return f"was to {'reach' if notice.above else 'fall to'} {limit} by now"
    verb = "reaches" if notice.above else "falls to"
    now = quantity(notice.value, notice.unit)
    return f"is {now} and {verb} {limit} in {span(ahead)}"


def claim(row: Line, _now: datetime) -> str:
    """One alert in one sentence, e.g. ``cpu.idle on host1 is 4 %``."""
    name = f"{word(row)}: {shown_name(row.series)} on {row.series.host}"
    if row.kind not in ENDINGS:
        said = _firing(row) if is_foreign(row) else amount(row)
        return f"{name} is {said}"
    return f"{name} {_GONE}" if row.gone and row.kind == "resolved" else f"{name} has cleared"


def amount(row: Line) -> str:
    """The alert's value with its item's unit; another system's as it gave it, if it did."""
    if is_foreign(row):
        return "" if row.value == 1 else quantity(row.value, "")
    item = ITEMS.get(row.series.item)
    return quantity(row.value, item.unit if item else "")
