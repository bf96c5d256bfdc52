"""Handing a job in from the page: fill in, look at the plan, submit; also an earlier job again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from services.client.api.faults import Refusal
from services.client.api.forms import SentForm
from services.client.api.packages import stored
from services.client.api.plans import Plans
from services.client.api.rendering import Render
from services.client.job_file import FaultyJobFileError
from services.client.job_form import body_of, filled_by, inputs, is_tfjob
from services.client.model import ReadModel
from services.client.settings import ClientSettings
from services.client.wording import faults
from shared.contracts import Fault, JobPlanned
from shared.packages import pack
from shared.storage import ObjectStore
from shared.tfjob import NotImportableError, import_tfjob, write

_PLAN_S, _LOOK_S = 10.0, 0.1
_LONGEST = 20_000
HandIn = Callable[[dict[str, Any]], str]
"""Hands a job in; its id."""


def router(
    page: Render,
    model: ReadModel,
    objects: ObjectStore,
    settings: ClientSettings,
    plans: Plans,
    hand_in: HandIn,
) -> APIRouter:
    """/submit."""
    routes = APIRouter(include_in_schema=False)

    def shown(fields: dict[str, str], rest: str, status: int = 200, **more: Any) -> HTMLResponse:
        most = settings.max_page_upload_bytes
        told = {"wrong": (), "plan": None, "notes": ()} | more
        made = inputs(fields)
        return page(
            "submit.html",
            status,
            here="jobs",
            inputs=made,
            fields=fields,
            rest=rest,
            most=most,
            **told,
        )

    @routes.get("/submit")
    def empty(again: Annotated[str, Query(max_length=128)] = "") -> HTMLResponse:
        job = model.job(again) if again else None
        if job is None or job.submit is None:
            return shown({}, "")
        fields, rest = filled_by(job.submit)
        named = {"package": job.submit.package, "package_sha256": job.submit.package_sha256 or ""}
        return shown(fields | named, rest)

    @routes.post("/submit")
    def sent(form: SentForm) -> Response:
        fields = {name: form.text(name, _LONGEST) for name in form.fields}
        rest = fields.pop("rest", "")
        try:
            body, notes = _body(
                fields, rest, lambda path, sha: stored(objects, settings, path, sha).package
            )
            body["submitted_by"] = form.by[:128]
            if fields.get("do") == "submit":
                return RedirectResponse(f"/jobs/{hand_in(body)}", 303)
            plan = _planned(plans, model, dict(body))
        except FaultyJobFileError as error:
            wrong = [Fault(field="", problem=line) for line in str(error).splitlines()]
            return shown(fields, rest, 422, wrong=wrong)
        except NotImportableError as error:
            wrong = [Fault(field="", problem=fault) for fault in error.faults]
            return shown(fields, rest, 422, wrong=wrong)
        except ValidationError as error:
            return shown(fields, rest, 422, wrong=faults(error.errors(include_url=False)))
        except Refusal as error:
            return shown(fields, rest, error.status, wrong=error.faults)
        fields["package"] = body.get("package", "")
        return shown(fields, rest, plan=plan, notes=notes, asked=True, body=body)

    return routes


def _body(
    fields: dict[str, str], rest: str, keep: Callable[[Path, str], str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The job that was filled in, and what was noted; a TFJob without code runs its commands."""
    package = {
        name: fields[name] for name in ("package", "package_sha256") if fields.get(name, "").strip()
    }
    if not is_tfjob(rest):
        return body_of(fields, rest) | package, ()
    found = import_tfjob(rest.encode(), own_code=bool(package))
    body = {"main": "main.py"} | found.body | package
    if not package:
        with tempfile.TemporaryDirectory(prefix="barograph-tfjob-") as folder:
            write(found.commands, Path(folder) / "package")
            packed = pack(Path(folder) / "package", Path(folder) / "package.tar.gz")
            body["package"] = keep(packed.path, packed.sha256)
    return body, found.notes


def _planned(plans: Plans, model: ReadModel, body: dict[str, Any]) -> JobPlanned | None:
    """What the installation says the job would be; None when it did not say so in time."""
    request_id = plans.ask(body, server=True)
    deadline = time.monotonic() + _PLAN_S
    while time.monotonic() < deadline:
        plan = model.plan(request_id)
        if plan is not None and plan.answer is not None:
            return plan.answer
        time.sleep(_LOOK_S)
    return None
