"""Renders a notification as a mail: text and HTML with the plot, one thread per incident."""

from __future__ import annotations

import csv
import io
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from services.healer.model.notice import Notice, Summary
from services.healer.notify.addresses import address
from services.healer.notify.links import LinkMaker
from services.healer.notify.render.header_folding import Folding
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.story import shown_name
from services.healer.notify.render.tables import evidence, whole_evidence
from services.healer.notify.render.text import (
    advice,
    alert_table,
    facts,
    follow,
    left_out,
    page_of,
    plain,
)
from services.healer.notify.render.title import colour, short_claim, title, where, word
from shared.contracts.alerts import Severity
from shared.contracts.job_notices import PROJECT_HEADER
from shared.visible import finalized

# Python breaks a longer subject after "Subject:", and every reader then shows a leading space.
_POLICY = Folding(linesep=SMTP.linesep, max_line_length=400)
_REFERENCES = 10
_URGENT = frozenset({"firing", "escalated", "unanswered", "storm"})
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    finalize=finalized,
    trim_blocks=True,
    lstrip_blocks=True,
)


def build(
    notice: Notice | Summary,
    sender: str,
    recipients: tuple[str, ...],
    page_url: str = "",
    *,
    links: LinkMaker | None = None,
    heading: str = "",
    why: str = "",
) -> EmailMessage:
    """The whole mail, in which whatever the notice's texts hold stays text.

    Args:
        notice: the notice.
        sender: the From address.
        recipients: the To addresses.
        page_url: where the web page is; linked when given.
        links: makes what the (first) recipient can do by a click.
        heading: the subject, instead of the notice's title.
        why: why the recipients get it.
    """
    mail = EmailMessage(policy=_POLICY)
    mail["Subject"] = one_line(heading) or title(notice)
    mail["From"] = address(sender)
    mail["To"] = [address(recipient) for recipient in recipients]
    _add_headers(mail, notice)
    offered = links.of(notice, recipients[0]) if links else []
    pictures = _plots(notice) if isinstance(notice, Notice) else {}
    mail.set_content(plain(notice, page_url, offered, why))
    page = _html(notice, page_of(notice, page_url), offered, why, has_plot=bool(pictures))
    mail.add_alternative(page, subtype="html")
    if pictures:
        html = mail.get_payload(1)
        assert isinstance(html, EmailMessage)  # noqa: S101 - add_alternative has made it, above
        for name, picture in pictures.items():
            html.add_related(picture, "image", "png", cid=f"<{name}>", filename=f"{name}.png")
    _attach(mail, notice)
    return mail


def _attach(mail: EmailMessage, notice: Notice | Summary) -> None:
    """Attach what is too long for the mail's text."""
    if isinstance(notice, Summary) and notice.rows:
        mail.add_attachment(as_csv(notice), subtype="csv", filename="alerts.csv")
    if isinstance(notice, Notice) and any(found.hidden for found in evidence(notice)):
        mail.add_attachment(whole_evidence(notice), filename="evidence.txt")


def _add_headers(mail: EmailMessage, notice: Notice | Summary) -> None:
    """The headers by which mail programs thread, sort and mark the mail."""
    mail["Date"] = format_datetime(notice.at)
    mail["Message-ID"] = f"<{notice.message_id}>"
    threads = [t for t in dict.fromkeys((notice.thread_id, *notice.references)) if t]
    if threads:
        mail["In-Reply-To"] = f"<{threads[0]}>"
        mail["References"] = " ".join(f"<{thread}>" for thread in threads[:_REFERENCES])
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "OOF, AutoReply"  # Exchange does not know Auto-Submitted
    family = notice.family if isinstance(notice, Notice) else "barograph"
    mail["X-Barograph-Alert"] = f"{notice.kind} {notice.severity} {one_line(family, 40)}"
    if isinstance(notice, Summary) and notice.project:
        # The page shows a mail about a job to those of its project alone.
        mail[PROJECT_HEADER] = notice.project
    if notice.severity is Severity.CRITICAL and notice.kind in _URGENT:
        mail["Importance"] = "high"


def as_csv(notice: Summary) -> str:
    """Every alert of a summary, for a spreadsheet; what could be a formula there is made text."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        [
            "incident",
            "state",
            "severity",
            "machine",
            "item",
            "labels",
            "value",
            "threshold",
            "since",
            "follows from",
            "why",
        ]
    )
    for row in notice.rows:
        labels = ",".join(f"{k}={v}" for k, v in sorted(row.series.labels.items()))
        writer.writerow(
            _cell(str(value))
            for value in (
                row.incident_id,
                row.kind,
                row.severity.value,
                row.series.host,
                shown_name(row.series),
                labels,
                row.value,
                "" if row.threshold is None else row.threshold,
                row.since.isoformat(),
                row.cause,
                row.sentence,
            )
        )
    return out.getvalue()


def _cell(text: str) -> str:
    flat = one_line(text, 1000)
    if not flat.startswith(("=", "+", "-", "@")):
        return flat
    number = flat.lstrip("-").replace(".", "", 1).isdigit()
    return flat if number else f"'{flat}"


def _html(
    notice: Notice | Summary, page: str, links: list[tuple[str, str]], why: str, *, has_plot: bool
) -> str:
    values: dict[str, Any] = {
        "subject": title(notice),
        "colour": colour(notice),
        "notice": notice,
        "links": links,
        "page_url": page,
        "why": why,
        "left_out": " ".join(left_out(notice)).strip(),
    }
    if isinstance(notice, Summary):
        rows = notice.rows[: notice.listed]
        values |= {
            "rows": alert_table(rows, notice.attached),
            "hidden": len(notice.rows) - len(rows),
        }
        return _PAGES.get_template("summary.html").render(values)
    values |= {
        "word": word(notice),
        "where": where(notice.series),
        "claim": short_claim(notice),
        "facts": facts(notice),
        "evidence": evidence(notice),
        "advice": advice(notice),
        "also": alert_table(notice.also, {}),
        "attached": alert_table(notice.attached, {}),
        "follow": follow(notice),
        "has_plot": has_plot,
    }
    return _PAGES.get_template("alarm.html").render(values)


def _plots(notice: Notice) -> dict[str, bytes]:
    """The plot in its light and its dark style, of which a mail program shows one."""
    # matplotlib takes seconds to import: a healer that starts again must not wait for it.
    from services.healer.notify.render.plot import pngs  # noqa: PLC0415 - matplotlib is slow to import

    return pngs(notice)
