"""A notification as plain text: its facts, tables and evidence."""

from __future__ import annotations

from collections.abc import Sequence

from services.healer.model.notice import ENDINGS, Line, Notice, Summary
from services.healer.notify.render.numbers import moment, one_line, span
from services.healer.notify.render.tables import aligned, evidence
from services.healer.notify.render.title import amount, is_foreign, word
from shared.quantity import counted, quantity
from shared.visible import visible


def facts(notice: Notice) -> list[tuple[str, str]]:
    """Name and value, in the order a person asks for them."""
    labels = ", ".join(f"{k}={v}" for k, v in sorted(notice.series.labels.items()))
    found = [("Machine", notice.series.host), ("Item", notice.series.item), ("Labels", labels)]
    if not is_foreign(notice):
        value = quantity(notice.value, notice.unit)
        found.append(("Last value" if notice.gone else "Value", value))
    elif notice.value != 1:
        found.append(("Value", quantity(notice.value, "")))
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
    found.append(("Acknowledged by", notice.acknowledged_by))
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


def left_out(notice: Notice | Summary) -> list[str]:
    """Return what a notice says of the alerts that were too many for its receiver."""
    number = notice.left_out
    said = f"{counted(number, 'further alert')} left out: the receiver takes no larger notice."
    return ["", said] if number else []


def _reason(why: str) -> list[str]:
    return ["", f"Why you get this: {one_line(why, 1000)}"] if why else []


def _notice_lines(notice: Notice, why: str) -> list[str]:
    known = facts(notice)
    width = max(len(name) for name, _ in known)
    lines = [one_line(notice.opening, 1000), ""] if notice.opening else []
    lines += [f"{name:<{width}}  {value}" for name, value in known]
    if notice.also:
        lines += ["", "Also:", *aligned(*alert_table(notice.also, {}))]
    lines += left_out(notice)
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
    return [*lines, "", f"How it was detected: {one_line(notice.sentence, 1000)}"]


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
    """Return how many alerts follow from this one, and how many of them are shown."""
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
    return lines + left_out(notice)
