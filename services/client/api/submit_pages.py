"""Pages that submit a job: fill in the form, review the plan, submit; or repeat an earlier job."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from services.client.access import CALLER
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import Refusal, refusal
from services.client.api.forms import SentForm
from services.client.api.jobs import submit_job
from services.client.api.packages import stored
from services.client.api.plans import ask_for_plan
from services.client.api.projects import own_project
from services.client.job_file import FaultyJobFileError
from services.client.job_form import Input, body_of, filled_by, inputs, is_tfjob
from services.client.turns import TooManyError
from services.client.wording import faults
from shared.contracts import Fault, JobPlanned
from shared.packages import check, pack
from shared.packages.folder import LEFT_OUT, OF_AN_ENVIRONMENT
from shared.packages.places import is_package, key_of
from shared.storage import StorageError
from shared.tfjob import NotImportableError, import_tfjob, write

_PLAN_S, _LOOK_S = 10.0, 0.1
_MAX_FIELD_CHARS = 20_000
_LOOKED_INTO = 16 * 2**20
"""Bytes; larger packages are not downloaded for the plan."""
_NO_CODE = "no folder was given: what the commands run has to be in the image"
routes = APIRouter(include_in_schema=False)


def _shown(
    client: Client, fields: dict[str, str], rest: str, status: int = 200, **more: Any
) -> HTMLResponse:
    usual = {"wrong": (), "plan": None, "notes": ()}
    return client.page(
        "submit.html",
        status,
        here="jobs",
        inputs=[_in_own_projects(each) for each in inputs(fields)],
        fields=fields,
        rest=rest,
        most=client.settings.max_page_upload_bytes,
        not_packed=LEFT_OUT,
        environment=OF_AN_ENVIRONMENT,
        **usual | more,
    )


def _in_own_projects(field: Input) -> Input:
    """The field as it is, but for the project: a choice among the caller's, where these are few."""
    projects = CALLER.get().projects
    if field.name != "project" or projects.every is not None:
        return field
    names = tuple(projects.listed)
    chosen = field.value if field.value in projects else projects.usual
    return replace(field, kind="choice", options=names, value=chosen, first=len(names) > 1)


@routes.get("/submit")
def empty(client: Provided, again: Annotated[str, Query(max_length=128)] = "") -> HTMLResponse:
    job = client.model.job(again, CALLER.get().projects) if again else None
    if job is None or job.submit is None:
        return _shown(client, {}, "")
    fields, rest = filled_by(job.submit)
    named = {"package": job.submit.package, "package_sha256": job.submit.package_sha256 or ""}
    return _shown(client, fields | named, rest)


@routes.post("/submit")
def sent(client: Provided, form: SentForm) -> Response:
    fields = {name: form.text(name, _MAX_FIELD_CHARS) for name in form.fields}
    rest = fields.pop("rest", "")
    try:
        body, notes = _body(client, fields, rest)
        body["submitted_by"] = form.by[:128]
        if fields.get("do") == "submit":
            return RedirectResponse(f"/jobs/{submit_job(client, body).job_id}", 303)
        plan = _reviewed(client, body)
    except FaultyJobFileError as error:
        wrong = [Fault(field="", problem=line) for line in str(error).splitlines()]
        return _shown(client, fields, rest, 422, wrong=wrong)
    except NotImportableError as error:
        wrong = [Fault(field="", problem=fault) for fault in error.faults]
        return _shown(client, fields, rest, 422, wrong=wrong)
    except ValidationError as error:
        return _shown(client, fields, rest, 422, wrong=faults(error.errors(include_url=False)))
    except Refusal as error:
        return _shown(client, fields, rest, error.status, wrong=error.faults)
    fields["package"] = body.get("package", "")
    return _shown(client, fields, rest, plan=plan, notes=notes, asked=True, body=body)


def _body(
    client: Client, fields: dict[str, str], rest: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The job that was filled in, and what was noted; a TFJob without code runs its commands."""
    package = {
        name: fields[name] for name in ("package", "package_sha256") if fields.get(name, "").strip()
    }
    if not is_tfjob(rest):
        return body_of(fields, rest) | package, ()
    found = import_tfjob(rest.encode(), own_code=bool(package))
    project = fields.get("project", "").strip()
    notes: tuple[str, ...] = tuple(found.notes)
    body = {"main": "main.py"} | found.body | package | ({"project": project} if project else {})
    if not package:
        notes = (*notes, _NO_CODE)
        with tempfile.TemporaryDirectory(prefix="barograph-tfjob-") as folder:
            write(found.commands, Path(folder) / "package")
            packed = pack(Path(folder) / "package", Path(folder) / "package.tar.gz")
            kept = stored(client, own_project(project), packed.path, packed.sha256)
            body["package"] = kept.package
    return body, notes


def _reviewed(client: Client, body: dict[str, Any]) -> JobPlanned | None:
    """The installation's plan of a job whose package has been looked into."""
    try:
        with client.planning.one():
            _check_package(client, body)
            return _planned(client, dict(body))
    except TooManyError:
        text = "too many plans are being made at this moment; try again in some seconds"
        raise refusal(503, text) from None


def _check_package(client: Client, body: dict[str, Any]) -> None:
    """Look into a package that is not large: its main program may be missing.

    Of others, and of those in other places, the job says it when it starts.

    Raises:
        Refusal: when it is no package with this main program.
    """
    bucket, project = client.settings.s3_bucket, own_project(str(body.get("project", "")))
    reference, main = str(body.get("package", "")), str(body.get("main", ""))
    if not main or not is_package(reference, bucket, project):
        return
    key = key_of(reference)
    try:
        known = client.objects.head(bucket, key)
        if known is None or known.size > _LOOKED_INTO:
            return
        with tempfile.TemporaryDirectory(prefix="barograph-plan-") as folder:
            archive = Path(folder) / "package.tar.gz"
            client.objects.fetch(bucket, key, archive)
            found = check(archive, main)
    except StorageError:
        return
    if found:
        raise Refusal(422, *(Fault(field="", problem=problem) for problem in found))


def _planned(client: Client, body: dict[str, Any]) -> JobPlanned | None:
    """The installation's plan of the job; None when it did not come in time."""
    request_id = ask_for_plan(client, body, server=True)
    deadline = time.monotonic() + _PLAN_S
    while time.monotonic() < deadline:
        plan = client.model.plan(request_id, CALLER.get().projects)
        if plan is not None and plan.answer is not None:
            return plan.answer
        time.sleep(_LOOK_S)
    return None
