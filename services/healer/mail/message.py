"""A notice as a mail: text and HTML, the plot inside, one thread an incident."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from services.healer.mail.content import Notice
from services.healer.mail.plot import png
from services.healer.mail.words import moment, one_line, quantity, span
from shared.contracts.alerts import EvidenceRow, Severity

# Python breaks a longer subject after "Subject:", and every reader then shows a leading space.
_POLICY = SMTP.clone(max_line_length=400)
_COLUMN = 60
_WORDS = {
    "predicted": "predicted",
    "firing": "alarm",
    "handled": "handled",
    "escalated": "needs you",
    "resolved": "resolved",
}
_COLOURS = {
    "predicted": "#b26a00", "firing": "#b3261e", "handled": "#1b7f4b", "escalated": "#b3261e",
    "resolved": "#1b7f4b",
}  # fmt: skip
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def build(
    notice: Notice, sender: str, recipients: tuple[str, ...], page_url: str = ""
) -> EmailMessage:
    """The whole mail; whatever the notice's texts hold, they stay texts.

    Args:
        notice: what to say.
        sender: the From address.
        recipients: the To addresses.
        page_url: where the web page is; linked when given.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = subject(notice)
    mail["From"] = _address(sender)
    mail["To"] = [_address(recipient) for recipient in recipients]
    mail["Date"] = format_datetime(notice.at)
    mail["Message-ID"] = f"<{notice.message_id}>"
    if notice.thread_id:
        mail["In-Reply-To"] = mail["References"] = f"<{notice.thread_id}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Barograph-Alert"] = f"{notice.kind} {notice.severity} {one_line(notice.family, 40)}"
    if notice.severity is Severity.CRITICAL and notice.kind in {"firing", "escalated"}:
        mail["Importance"] = "high"
    picture = png(notice)
    mail.set_content(_text(notice, page_url))
    mail.add_alternative(_html(notice, page_url, has_plot=picture is not None), subtype="html")
    if picture is not None:
        page = mail.get_payload(1)
        assert isinstance(page, EmailMessage)  # noqa: S101 - what add_alternative makes
        page.add_related(picture, "image", "png", cid="<plot>", filename="plot.png")
    return mail


def subject(notice: Notice) -> str:
    """E.g. ``[critical] predicted: df.bytes.used.percent on host17 reaches 90 % in 3 h 20 min``."""
    where = f"{notice.series.item} on {notice.series.host}"
    return one_line(f"[{notice.severity}] {_WORDS[notice.kind]}: {where} {_claim(notice)}")


def _claim(notice: Notice) -> str:
    match notice.kind:
        case "handled":
            return "is out of danger"
        case "resolved":
            return "is over"
        case _ if notice.crossing_ms is not None and notice.threshold is not None:
            verb = "reaches" if notice.above else "falls to"
            ahead = notice.crossing_ms / 1000 - notice.at.timestamp()
            when = f"in {span(timedelta(seconds=ahead))}" if ahead > 0 else "about now"
            return f"{verb} {quantity(notice.threshold, notice.unit)} {when}"
        case _:
            return f"is {quantity(notice.value, notice.unit)}"


def facts(notice: Notice) -> list[tuple[str, str]]:
    """Name and value, in the order a person asks for them."""
    labels = ", ".join(f"{k}={v}" for k, v in sorted(notice.series.labels.items()))
    found = [("Machine", notice.series.host), ("Item", notice.series.item), ("Labels", labels)]
    found.append(("Value", quantity(notice.value, notice.unit)))
    if notice.threshold is not None:
        side = "above" if notice.above else "below"
        found.append(("Alarm", f"{side} {quantity(notice.threshold, notice.unit)}"))
    if notice.predicted_value is not None:
        found.append(("Predicted", quantity(notice.predicted_value, notice.unit)))
    if notice.crossing_ms is not None:
        found.append(("Crosses", _crossing(notice)))
    found.append(("Time", moment(int(notice.at.timestamp() * 1000))))
    return [(name, one_line(value, 600)) for name, value in found if value]


def _crossing(notice: Notice) -> str:
    at = moment(notice.crossing_ms or 0)
    if notice.earliest_ms is None:
        return at
    latest = "open" if notice.latest_ms is None else moment(notice.latest_ms)
    return f"{at} (between {moment(notice.earliest_ms)} and {latest})"


def table(rows: Sequence[EvidenceRow]) -> tuple[list[str], list[list[str]]]:
    """Columns in order of first appearance, and the cells, one line each."""
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    return names, [[one_line(row.columns.get(name, ""), 300) for name in names] for row in rows]


def _text(notice: Notice, page_url: str) -> str:
    known = facts(notice)
    width = max(len(name) for name, _ in known)
    lines = [one_line(notice.sentence, 1000), ""]
    lines += [f"{name:<{width}}  {value}" for name, value in known]
    if notice.actions:
        lines += ["", "What was done:", *(f"  - {one_line(a, 1000)}" for a in notice.actions)]
    if notice.evidence:
        lines += ["", f"{one_line(notice.evidence_title)}:", *_aligned(notice.evidence)]
    if notice.evidence_note:
        lines += ["", one_line(notice.evidence_note, 1000)]
    if notice.suggested_command:
        lines += ["", "To look closer:", f"  {one_line(notice.suggested_command, 4200)}"]
    if page_url:
        lines += ["", page_url]
    return "\n".join(lines) + "\n"


def _aligned(rows: Sequence[EvidenceRow]) -> list[str]:
    names, cells = table(rows)
    short = [[one_line(cell, _COLUMN) for cell in row] for row in [names, *cells]]
    widths = [max(len(row[i]) for row in short) for i in range(len(names))]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in short
    ]


def _html(notice: Notice, page_url: str, *, has_plot: bool) -> str:
    names, cells = table(notice.evidence)
    values: dict[str, Any] = {
        "subject": subject(notice),
        "word": _WORDS[notice.kind],
        "colour": _COLOURS[notice.kind],
        "claim": _claim(notice),
        "notice": notice,
        "facts": facts(notice),
        "names": names,
        "cells": cells,
        "has_plot": has_plot,
        "page_url": page_url,
    }
    return _PAGES.get_template("alarm.html").render(values)


def _address(text: str) -> Address:
    name, spec = parseaddr(one_line(text))
    return Address(display_name=name, addr_spec=spec)
