"""The web pages: rendered on the server, refreshed by a small script of our own."""

from __future__ import annotations

import email
import email.policy
import mailbox
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import islice
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from services.client.access import CALLER
from services.client.alerts.records import AlertView
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import refusal
from services.client.api.jobs import JobId
from services.client.description import Description, MemberShown
from services.client.drawing import MAX_ROWS, draw
from services.client.records import ENDED, JobView
from services.client.settings import ClientSettings
from services.client.usage_plot import MAX_LINES, plots, rows
from shared.contracts import Artifact
from shared.contracts.job_notices import PROJECT_HEADER
from shared.machine import machine_of

_PAGE, _MAX_RESULTS, _MAX_READ = 50, 200, 1_000

_MAX_MACHINES, _MAX_ALARMS = 50, 50
_UNREADABLE = (LookupError, ValueError, TypeError, AttributeError)
"""The exceptions of Python's mail parser for headers and bodies that break the standards."""


routes = APIRouter(include_in_schema=False)


@routes.get("/jobs/{job_id}")
def job(client: Provided, job_id: JobId) -> HTMLResponse:
    described = client.model.description(job_id, datetime.now(UTC), CALLER.get().projects)
    if described is None:
        return client.page("missing.html", 404, here="jobs", what=f"There is no job {job_id}.")
    curves = client.model.largest_curves(described.members, MAX_LINES)
    return client.page(
        "job.html",
        here="jobs",
        job=described.job,
        ended=described.job.state in ENDED,
        described=described,
        most_rows=MAX_ROWS,
        drawing=draw(described, client.model.moments(job_id)),
        spec=_spec(described),
        epochs=[line for line in described.timeline if line.kind == "gathered"],
        alarms=_alarms(client, described),
        used=plots(curves, described.members),
        used_rows=rows(curves, described.members),
        gpus=client.gpus.of(described),
        results=_results(described.job),
    )


@routes.get("/mail")
def mails(client: Provided) -> HTMLResponse:
    return client.page("mail.html", here="mail", mails=_mails(client.settings))


@routes.get("/api/v1/mail")
def mail_list(client: Provided) -> list[dict[str, str]]:
    return _mails(client.settings)


@routes.get("/api/v1/mail/{key}/{part}")
def mail_part(client: Provided, key: str, part: int) -> Response:
    return _part(client.settings, key, part)


def _spec(described: Description) -> list[tuple[str, list[MemberShown]]]:
    """The members whose addresses the others know, by role and number."""
    found: dict[str, list[MemberShown]] = {}
    for member in sorted(described.members, key=lambda each: (each.role, each.index)):
        if member.address:
            found.setdefault(member.role, []).append(member)
    return list(found.items())


def _alarms(client: Client, described: Description) -> list[tuple[AlertView, list[str]]]:
    """Alerts of the machines that ran the job, while it ran, each with the members there."""
    names: dict[str, list[str]] = {}
    for member in described.members:
        if machine := machine_of(member.node):
            names.setdefault(machine, []).append(member.name)
    ended = described.job.state in ENDED
    begin, end = described.job.created_at, described.job.updated_at if ended else described.now
    found = client.alerts.of_machines(list(names)[:_MAX_MACHINES], begin, end, _MAX_ALARMS)
    return [(alert, names[alert.host]) for alert in found]


def _results(job: JobView) -> list[tuple[str, str, Artifact]]:
    """Each stored file with its path below the job and its address; '' if it has none."""
    own = f"jobs/{job.job_id}/"
    found = []
    for file in job.artifacts[:_MAX_RESULTS]:
        path = file.key.removeprefix(own)
        is_result = file.key.startswith(own) and path.startswith(("model/", "output/"))
        way = f"/api/v1/jobs/{job.job_id}/results/{quote(path)}" if is_result else ""
        found.append((path, way, file))
    return found


def _box(settings: ClientSettings) -> mailbox.Maildir:
    if settings.maildir is None or not settings.maildir.is_dir():
        raise refusal(404, "no local mailbox is configured")
    if not settings.api_token.get_secret_value():
        # Mails hold links that approve and silence: whoever reads them may do so.
        raise refusal(403, "mails are shown to callers with a token only: set API_TOKEN")
    return mailbox.Maildir(settings.maildir, create=False)


def _read(box: mailbox.Maildir, key: str) -> EmailMessage:
    try:
        raw = box.get_bytes(key)
    except KeyError:
        raise refusal(404, "there is no such mail") from None
    return BytesParser(EmailMessage, policy=email.policy.default).parsebytes(raw)


def _mails(settings: ClientSettings) -> list[dict[str, str]]:
    """The newest mails, newest first, with text and the number of an inline picture."""
    box = _box(settings)
    newest = sorted(box.keys(), key=_delivered, reverse=True)[:_MAX_READ]
    mails = ((key, _read(box, key)) for key in newest)
    shown = (_shown(key, mail) for key, mail in mails if _is_for_caller(mail))
    return list(islice(shown, _PAGE))


def _is_for_caller(mail: EmailMessage) -> bool:
    """Mails about jobs are for those of all their projects, all others for whoever reads mails."""
    projects = CALLER.get().projects
    try:
        named = str(mail[PROJECT_HEADER] or "").split()
    except _UNREADABLE:
        return projects.every is not None
    return all(project in projects for project in named)


def _shown(key: str, mail: EmailMessage) -> dict[str, str]:
    pictures = [str(n) for n, p in enumerate(mail.walk()) if p.get_content_maintype() == "image"]
    shown = {"key": key, "picture": pictures[0] if pictures else ""}
    try:
        body = mail.get_body(("plain",))
        shown |= {name: str(mail[name] or "") for name in ("subject", "date", "to")}
        shown["text"] = body.get_content() if body else ""
    except _UNREADABLE as error:
        # Anybody may have written it; the others are shown all the same.
        shown |= {"subject": "(unreadable)", "date": "", "to": "", "text": str(error)}
    return {name: text.encode(errors="replace").decode() for name, text in shown.items()}


def _delivered(key: str) -> tuple[int, ...]:
    """The time of delivery, with which a Maildir key begins: seconds, and M with microseconds."""
    begun = re.match(r"(\d+)(?:\.M(\d+))?", key)
    return tuple(int(part or 0) for part in begun.groups()) if begun else ()


def _part(settings: ClientSettings, key: str, part: int) -> Response:
    """A picture of a mail; nothing else is ever served as it came."""
    mail = _read(_box(settings), key)
    for number, piece in enumerate(mail.walk() if _is_for_caller(mail) else ()):
        if number == part and piece.get_content_type() in {"image/png", "image/jpeg"}:
            content = piece.get_payload(decode=True)
            return Response(content, media_type=piece.get_content_type())
    raise refusal(404, "the mail has no such picture")
