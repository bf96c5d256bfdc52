"""The page with the list of jobs: by state, project and search, with actions on several jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from services.client.access import CALLER
from services.client.api.dependencies import Provided
from services.client.api.faults import refusal
from services.client.api.forms import SentForm
from services.client.api.jobs import found, send_away
from services.client.api.paging import address, neighbours
from services.client.api.projects import OfProject, may_submit
from services.client.model import SHOWN_STATES
from services.client.projects import Projects
from services.client.records import ENDED
from shared.contracts import JobCancel

_PAGE, _MAX_CHOSEN = 50, 50
_State = Annotated[str, Query(max_length=20, pattern=f"^({'|'.join(SHOWN_STATES)})?$")]
routes = APIRouter(include_in_schema=False)


@routes.get("/jobs")
def jobs(
    client: Provided,
    state: _State = "",
    search: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    project: OfProject = "",
) -> HTMLResponse:
    projects = CALLER.get().projects
    chosen, asked = projects.only(project), {"project": project, "search": search}
    states = (state,) if state else ()
    listed = client.model.jobs(states, _PAGE + 1, offset, chosen, search.strip())
    here = asked | {"state": state}
    return client.page(
        "jobs.html",
        here="jobs",
        jobs=listed[:_PAGE],
        **neighbours("/jobs", here, offset, _PAGE, more=len(listed) > _PAGE),
        states=_states(client.model.job_counts(chosen), asked, state),
        project_choices=_choices(projects),
        progress=client.model.progress([job.job_id for job in listed[:_PAGE]]),
        now=datetime.now(UTC),
        **here,
    )


@routes.post("/jobs/{change}")
def change(client: Provided, change: Literal["cancel", "remove"], form: SentForm) -> Response:
    chosen = form.fields.get("job", [])
    if not 0 < len(chosen) <= _MAX_CHOSEN:
        raise refusal(422, f"select between 1 and {_MAX_CHOSEN} jobs", "job")
    views = [found(client.model, job_id) for job_id in dict.fromkeys(chosen)]
    for view in views:
        may_submit(view.project)
    if change == "cancel":
        reason = f"cancelled by {CALLER.get().described}"
        going = [view.job_id for view in views if view.state not in ENDED]
        client.publisher.publish([JobCancel(job_id=each, reason=reason) for each in going])
    else:
        going = [f"{view.name} is {view.state}" for view in views if view.state not in ENDED]
        if going:
            raise refusal(409, f"cancel it first: {', '.join(going[:5])}", "job")
        send_away(client, views)
    return form.back(change, "/jobs")


def _states(
    counts: Mapping[str, int], asked: Mapping[str, str], chosen: str
) -> list[tuple[str, int, str]]:
    """Each state that a job is in, and the one that is shown, with how many there are."""
    shown = [each for each in SHOWN_STATES if counts.get(each) or each == chosen]
    every = ("", sum(counts.values()), address("/jobs", asked))
    return [every, *((s, counts.get(s, 0), address("/jobs", {**asked, "state": s})) for s in shown)]


def _choices(projects: Projects) -> list[tuple[str, str]]:
    """The projects to choose from; none where there is but one, or nobody lists them."""
    if projects.every is not None or len(projects.roles) <= 1:
        return []
    return [("", "all"), *((name, name) for name in projects.listed)]
