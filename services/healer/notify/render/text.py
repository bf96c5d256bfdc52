"""A notice in words: its title, its facts, its plain text, and the links that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.healer.model.notice import ENDINGS, Line, Notice, Summary
from services.healer.notify.links import Link, Links, Purpose
from services.healer.notify.render.numbers import moment, one_line, quantity, span
from services.healer.notify.render.tables import aligned, evidence
from shared.items import ITEMS
from shared.visible import visible

WORDS = {
    "predicted": "predicted",
    "firing": "alarm",
    "handled": "handled",
    "escalated": "needs you",
    "resolved": "resolved",
    "acknowledged": "acknowledged",
    "unanswered": "nobody answered",
    "flapping": "flapping",
}
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


@dataclass(frozen=True)
class LinkMaker:
    """Makes the links of one notice to one recipient."""

    links: Links
    base: str
    valid: timedelta
    offered: frozenset[Purpose] = frozenset({"acknowledge", "silence"})
    """The purposes of links that the healer can serve."""

    def of(self, notice: Notice | Summary, recipient: str) -> list[tuple[str, str]]:
        """Label and address of what the recipient can do about it."""
        if not isinstance(notice, Notice) or notice.kind in ENDINGS or not notice.incident_id:
            return []
        wanted: list[tuple[str, Purpose, str]] = [
            ("Approve", "approve", notice.approval_id),
            ("Deny", "deny", notice.approval_id),
            ("Acknowledge", "acknowledge", "" if notice.acknowledged_by else notice.incident_id),
            ("Silence", "silence", notice.incident_id),
            ("Not an anomaly", "not-an-anomaly", notice.incident_id),
        ]
        expires = notice.at + self.valid
        return [
            (label, self.links.url(self.base, Link(purpose, subject, recipient, expires)))
            for label, purpose, subject in wanted
            if subject and purpose in self.offered
        ]


def colour(notice: Notice | Summary) -> str:
    """The colour of the notice's kind: red calls, amber warns, green ends."""
    return _COLOURS[notice.kind]


def title(notice: Notice | Summary) -> str:
    """E.g. ``[critical] predicted: df.bytes.used.percent on host17 reaches 90 % in 3 h 20 min``."""
    if isinstance(notice, Summary):
        return one_line(f"[{notice.severity}] {notice.kind}: {notice.headline}")
    where = f"{notice.series.item} on {notice.series.host}"
    more = f" (and {len(notice.also)} more)" if notice.also else ""
    said = f"[{notice.severity}] {word(notice)}: {where} {short_claim(notice)}"
    return one_line(said, 200 - len(more)) + more


def word(notice: Notice | Line) -> str:
    """The kind of notice in words: an alarm is a threshold crossed, an anomaly is unlike itself."""
    return notice.signal if notice.kind == "firing" else WORDS[notice.kind]


def short_claim(notice: Notice) -> str:
    """The matter, after the series' name, and whether an approval is wanted."""
    asks = notice.approval_id and notice.remediation and notice.kind not in ENDINGS
    return _claim(notice) + (f"; {notice.remediation} needs your approval" if asks else "")


def _claim(notice: Notice) -> str:
    match notice.kind:
        case "handled":
            return f"is out of danger: {notice.outcome}" if notice.outcome else "is out of danger"
        case "resolved":
            return "is over"
        case "flapping":
            return "comes and goes"
        case "acknowledged":
            return f"is taken care of by {notice.acknowledged_by}"
        case _ if notice.crossing_ms is not None and notice.threshold is not None:
            return _to_come(notice, notice.crossing_ms, notice.threshold)
        case _:
            return f"is {quantity(notice.value, notice.unit)}"


def _to_come(notice: Notice, crossing_ms: int, threshold: float) -> str:
    limit = quantity(threshold, notice.unit)
    ahead = crossing_ms / 1000 - notice.at.timestamp()
    if ahead <= 0:
        return f"was to {'reach' if notice.above else 'fall to'} {limit} by now"
    verb = "reaches" if notice.above else "falls to"
    return f"{verb} {limit} in {span(timedelta(seconds=ahead))}"


def claim(row: Line, _now: datetime) -> str:
    """One alert in one sentence, e.g. ``cpu.idle on host1 is 4 %``."""
    name = f"{word(row)}: {row.series.item} on {row.series.host}"
    return f"{name} is over" if row.kind in ENDINGS else f"{name} is {amount(row)}"


def amount(row: Line) -> str:
    """The alert's value with its item's unit."""
    item = ITEMS.get(row.series.item)
    return quantity(row.value, item.unit if item else "")


def facts(notice: Notice) -> list[tuple[str, str]]:
    """Name and value, in the order a person asks for them."""
    labels = ", ".join(f"{k}={v}" for k, v in sorted(notice.series.labels.items()))
    found = [("Machine", notice.series.host), ("Item", notice.series.item), ("Labels", labels)]
    found.append(("Value", quantity(notice.value, notice.unit)))
    if notice.after is not None:
        what = f"After {notice.remediation}" if notice.remediation else "Afterwards"
        found.append((what, quantity(notice.after.value, notice.unit)))
    if notice.threshold is not None:
        side = "above" if notice.above else "below"
        found.append(("Alarm", f"{side} {quantity(notice.threshold, notice.unit)}"))
    if notice.predicted_value is not None:
        found.append(("Predicted", quantity(notice.predicted_value, notice.unit)))
    if notice.crossing_ms is not None:
        found.append(("Crosses", _crossing(notice)))
    found.append(("Taken by", notice.acknowledged_by))
    if notice.since is not None:
        lasted = span(notice.at - notice.since)
        found.append(("Since", f"{moment(int(notice.since.timestamp() * 1000))} ({lasted})"))
    found.append(("Time", moment(int(notice.at.timestamp() * 1000))))
    found.append(("Alert", notice.incident_id))
    return [(name, one_line(value, 600)) for name, value in found if value]


def _crossing(notice: Notice) -> str:
    at = moment(notice.crossing_ms or 0)
    if notice.earliest_ms is None:
        return at
    if notice.earliest_ms == notice.latest_ms == notice.crossing_ms:
        return at
    if notice.latest_ms is None:
        return f"{at} (not before {moment(notice.earliest_ms)})"
    return f"{at} (between {moment(notice.earliest_ms)} and {moment(notice.latest_ms)})"


def alert_table(rows: Sequence[Line], effects: dict[str, int]) -> tuple[list[str], list[list[str]]]:
    """Alerts as columns and cells; with how many follow from each, where there are any."""
    names = ["state", "severity", "machine", "item", "value", "since", "why"]
    cells = [
        [
            word(row),
            row.severity.value,
            one_line(row.series.host, 100),
            one_line(" ".join([row.series.item, *_labels(row)]), 200),
            amount(row),
            f"{row.since:%m-%d %H:%M:%S}",
            one_line(row.sentence, 160),
        ]
        for row in rows
    ]
    if not effects:
        return names, cells
    counted = [str(effects.get(row.incident_id, "")) for row in rows]
    return [*names[:-1], "effects", names[-1]], [
        [*cell[:-1], count, cell[-1]] for cell, count in zip(cells, counted, strict=True)
    ]


def _labels(row: Line) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(row.series.labels.items())]


def page_of(notice: Notice | Summary | Line, page_url: str) -> str:
    """The address of an alert's own page, or of the first page for many; empty if there is none."""
    if isinstance(notice, Summary):
        path = notice.path and f"/{notice.path}"
        return f"{page_url.rstrip('/')}{path}" if page_url and path else page_url
    if not page_url or not notice.incident_id:
        return page_url
    return f"{page_url.rstrip('/')}/alerts/{notice.incident_id}"


def plain(
    notice: Notice | Summary,
    page_url: str = "",
    links: Sequence[tuple[str, str]] = (),
    why: str = "",
) -> str:
    """The whole notice as plain text.

    Args:
        notice: the notice.
        page_url: where the web page is.
        links: label and address of what the reader can do.
        why: why this reader gets it.
    """
    if isinstance(notice, Summary):
        lines = [*_summary_lines(notice), *_reason(why)]
    else:
        lines = _notice_lines(notice, why)
    for label, url in links:
        lines += ["", f"{label}: {url}"]
    if page_url:
        lines += ["", page_of(notice, page_url)]
    return "\n".join(lines) + "\n"


def _reason(why: str) -> list[str]:
    return ["", f"Why you get this: {one_line(why, 1000)}"] if why else []


def _notice_lines(notice: Notice, why: str) -> list[str]:
    known = facts(notice)
    width = max(len(name) for name, _ in known)
    lines = [one_line(notice.opening, 1000), ""] if notice.opening else []
    lines += [f"{name:<{width}}  {value}" for name, value in known]
    if notice.also:
        lines += ["", "Also:", *aligned(*alert_table(notice.also, {}))]
    if notice.attached_total:
        lines += ["", f"{follow(notice)}:", *aligned(*alert_table(notice.attached, {}))]
    command = _command(notice)
    if notice.planned:
        lines += command
    if notice.actions:
        lines += ["", "What was done:", *(f"  - {one_line(a, 1000)}" for a in notice.actions)]
    if notice.next_step:
        lines += ["", f"What happens next: {one_line(notice.next_step, 300)}"]
    if notice.runbook_url:
        lines += ["", f"Runbook: {one_line(notice.runbook_url, 2000)}"]
    lines += _reason(why)
    for found in evidence(notice):
        lines += ["", f"{found.title}:", *aligned(found.names, found.cells)]
        lines += [f"  {found.rest}"] * bool(found.hidden)
    if notice.evidence_note:
        lines += ["", one_line(notice.evidence_note, 1000)]
    lines += [] if notice.planned else command
    if notice.story:
        story = [f"  {at}  {one_line(text, 1000)}" for at, text in notice.story]
        lines += ["", "What happened (UTC):", *story]
    return [*lines, "", f"How it was found: {one_line(notice.sentence, 1000)}"]


def _command(notice: Notice) -> list[str]:
    if not advice(notice):
        return []
    commands = visible(notice.suggested_command).splitlines()
    return ["", f"{advice(notice)}:", *(f"  {command}" for command in commands)]


def advice(notice: Notice) -> str:
    """The purpose of the command; empty where there is none, or nothing to do any more."""
    if not notice.suggested_command or notice.kind in ENDINGS:
        return ""
    if not notice.planned:
        return "To look closer"
    return "What approving runs" if notice.approval_id else "To repair it"


def follow(notice: Notice) -> str:
    """How many alerts follow from this one, and how many of them are shown."""
    total, shown = notice.attached_total, len(notice.attached)
    what = "1 alert follows" if total == 1 else f"{total} alerts follow"
    some = "one of them" if shown == 1 else f"the first {shown}"
    return f"{what} from it" + (f"; {some}" if total > shown else "")


def _summary_lines(notice: Summary) -> list[str]:
    lines = [one_line(sentence, 1000) for sentence in notice.sentences]
    if notice.counts:
        width = max(len(str(count)) for _, count in notice.counts)
        lines += ["", *(f"  {count:>{width}}  {one_line(what)}" for what, count in notice.counts)]
    if notice.rows:
        shown = notice.rows[: notice.listed]
        lines += ["", *aligned(*alert_table(shown, notice.attached))]
    if len(notice.rows) > notice.listed:
        lines += ["", f"and {len(notice.rows) - notice.listed} more, in the attached table"]
    return lines
