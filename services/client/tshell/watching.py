"""Commands about submitted jobs: show, follow, cancel, remove."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.client.tshell.cli import (
    JobId,
    Json,
    app,
    end,
    follow,
    say,
    speaks_alone,
    the_client,
    the_job,
)

if TYPE_CHECKING:
    from shared.client import Client

_WATCH_S = 3.0
_MAX_PAGE = 500


@app.command("ls")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help="Show only jobs in these states, such as failed,running."),
    ] = None,
    search: Annotated[
        str, typer.Option("--search", help="Show only jobs with this in their id or name.")
    ] = "",
    project: Annotated[
        str, typer.Option("--project", help="Show only the jobs of this project.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 50,
    watch: Annotated[
        bool,
        typer.Option("-w", "--watch", help="Refresh every few seconds, until interrupted."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    states = [each for given in state or [] for each in given.split(",") if each]
    client = the_client()
    while True:
        asked = {"state": states, "project": project}
        found = _found(client, asked, search.casefold(), limit)
        if as_json:
            print(json.dumps(found), flush=True)
        else:
            from services.client.tshell import shown

            shown.jobs(found["jobs"], anew=watch)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _found(client: Client, asked: dict[str, Any], search: str, limit: int) -> dict[str, Any]:
    """A page of jobs; with a search, of those that fit, however many lie between them."""
    if not search:
        wanted = asked | {"limit": limit}
        return client.jobs_api.ask(dict[str, Any], "GET", "/jobs", params=wanted)
    fitting: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None and len(fitting) < limit:
        part = asked | {"limit": _MAX_PAGE, "offset": offset}
        page = client.jobs_api.call("GET", "/jobs", params=part)
        fitting += [each for each in page["jobs"] if search in _named(each)]
        offset = page["next_offset"]
    return {"jobs": fitting[:limit], "next_offset": offset}


def _named(job: dict[str, Any]) -> str:
    return f"{job['job_id']} {job['name']}".casefold()


@app.command("open")
def open_page(job: JobId) -> None:
    """Open a job's page in the browser, or print its address if there is no browser."""
    from shared.client.addresses import of_jobs

    page = f"{of_jobs().url}/jobs/{the_job(the_client(), job)['job_id']}"
    print(page)
    typer.launch(page)


@app.command()
def status(job: JobId, as_json: Json = False) -> None:
    """Show a job's state and reason; exit status 1 if it failed."""
    view = the_job(the_client(), job)
    advice = f"\n  {view['pending']['advice']}" if view["pending"] else ""
    say(view, f"{view['state']}  {view['reason']}{advice}", as_json)
    end(view["state"])


@app.command()
def describe(job: JobId, as_json: Json = False) -> None:
    """Show everything about a job: its members, why it is waiting, and its timeline."""
    client = the_client()
    described = client.jobs_api.call("GET", f"/jobs/{the_job(client, job)['job_id']}/description")
    if as_json:
        print(json.dumps(described))
        return
    from services.client.tshell import shown

    shown.description(described)


@app.command()
def top(
    job: Annotated[
        str, typer.Argument(help="The job whose members are shown; by default all jobs are listed.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show the resources that jobs, or a job's members, requested and use."""
    client = the_client()
    path = f"/jobs/{the_job(client, job)['job_id']}/usage" if job else "/usage"
    used = client.jobs_api.call("GET", path)
    if as_json:
        print(json.dumps(used))
        return
    from services.client.tshell import shown

    if job:
        shown.members_usage(used)
    else:
        shown.jobs_usage(used)


@app.command()
def logs(
    job: JobId,
    follow_it: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the log until the job has ended.")
    ] = False,
    member: Annotated[
        str, typer.Option("--member", help="Show only this member's log, such as worker-0.")
    ] = "",
    previous: Annotated[
        bool,
        typer.Option("-p", "--previous", help="Show the log of the previous incarnation."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print a job's log, of all members and incarnations, even after its pods are gone.

    Several logs are printed one after the other, each line with its member (and, from the second
    incarnation on, its incarnation). A single log is printed as it is.
    """
    from services.client.tshell.stop import Code, Stop

    client = the_client()
    if follow_it and previous:
        raise Stop(Code.BAD_INPUT, "a previous incarnation prints nothing new; leave out -f")
    view = the_job(client, job)
    job = view["job_id"]
    if follow_it:
        follow(client, job, as_json, member)
        return
    wanted: dict[str, Any] = {"previous": previous} | ({"member": member} if member else {})
    parts = client.jobs_api.call("GET", f"/jobs/{job}/logs/parts", params=wanted)
    if not parts and (member or previous):
        whom = member or "any member"
        raise Stop(Code.NOT_FOUND, f"no {'previous ' if previous else ''}log of {whom} is stored")
    if as_json:
        texts = [part | {"text": "".join(_text(client, job, part))} for part in parts]
        print(json.dumps({"text": "".join(each["text"] for each in texts), "parts": texts}))
        return
    _print_logs(client, job, parts, alone=speaks_alone(view, member))


def _print_logs(client: Client, job: str, parts: list[dict[str, Any]], *, alone: bool) -> None:
    """Print the logs one after the other, each line with its member unless there is one log."""
    from services.client.tshell.printing import LogPrinter, prefix

    printer = LogPrinter()
    for part in parts:
        one = alone and len(parts) == 1
        before = "" if one else prefix(part["member"], part["incarnation"], alone=alone)
        for piece in _text(client, job, part):
            printer.print(before, piece)
        printer.close()


@app.command()
def cancel(
    job: JobId,
    reason: Annotated[str, typer.Option("--reason", help="The reason, in words for people.")] = "",
    as_json: Json = False,
) -> None:
    """Stop a job; what it has written so far is stored."""
    client = the_client()
    view = the_job(client, job)
    job = view["job_id"]
    if view["ended"]:
        say(view, f"{job} is {view['state']} already; nothing was cancelled", as_json)
        return
    handed = client.jobs_api.call("POST", f"/jobs/{job}/cancel", json={"reason": reason})
    say(handed, f"{job}: cancellation requested", as_json)


@app.command()
def rm(job: JobId, as_json: Json = False) -> None:
    """Delete an ended job: its record, logs and model."""
    client = the_client()
    job = the_job(client, job)["job_id"]
    say(client.jobs_api.call("DELETE", f"/jobs/{job}"), f"{job}: removal requested", as_json)


def _text(client: Client, job: str, part: dict[str, Any]) -> Iterator[str]:
    wanted = {"member": part["member"], "incarnation": part["incarnation"]}
    return client.jobs_api.text(f"/jobs/{job}/logs", params=wanted)
