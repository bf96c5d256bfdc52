"""Commands about jobs' results, and about repeating and deleting jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from services.client.tshell.cli import (
    Cores,
    JobId,
    Json,
    Memory,
    WaitForIt,
    app,
    end,
    ending,
    say,
    the_client,
    the_job,
)
from services.client.tshell.request import Request, given
from services.client.tshell.submitting import send
from shared.visible import visible


@app.command()
def get(
    job: JobId,
    path: Annotated[
        str,
        typer.Option(
            "--path", help="Download only this file or folder, such as model or output/x.csv."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The folder to write to; by default it is named after the job."
        ),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="List the files without downloading them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download a job's model and output files."""
    from services.client.tshell.stop import Code, Stop

    client = the_client()
    view = the_job(client, job)
    files = [each.model_dump() for each in client.results(view["job_id"], path)]
    if not files:
        what = f"nothing below {path}" if path else "no model and no output files"
        raise Stop(Code.NOT_FOUND, f"{view['job_id']}, which is {view['state']}, has left {what}")
    if only_list:
        lines = [f"{file['size']:>14,}  {file['path']}" for file in files]
        say({"files": files}, "\n".join(lines), as_json)
        return
    folder = output or Path(view["job_id"])
    for target in client.get(view["job_id"], folder, path):
        if not as_json:
            print(visible(str(target)))
    if as_json:
        print(json.dumps({"folder": str(folder), "files": files}))


@app.command()
def rerun(
    job: JobId,
    job_id: Annotated[
        str, typer.Option("--id", help="The id of the new job; by default it is generated.")
    ] = "",
    memory: Memory = "",
    cpu: Cores = 0.0,
    wait_for_it: WaitForIt = False,
    as_json: Json = False,
) -> None:
    """Submit a job again, as a new one with the same code, data and options."""
    from services.client.tshell.stop import Code, Stop

    view = the_job(the_client(), job)
    if view["submit"] is None:
        raise Stop(
            Code.NOT_FOUND,
            f"the fields that {view['job_id']} was submitted with are no longer known",
        )
    body = {name: value for name, value in view["submit"].items() if name != "job_id"}
    asked: dict[str, Any] = given({"memory": memory, "cpu": cpu})
    body["resources"] |= asked
    body["role_resources"] = {r: each | asked for r, each in body["role_resources"].items()}
    send(Request(body | given({"job_id": job_id}), None), wait_for_it, as_json)


@app.command()
def wait(
    job: JobId,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0,
            help="The longest time to wait, in seconds; then the command ends with status "
            "3. 0: no limit.",
        ),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Wait until a job has ended, without showing its log; exit status 1 if it failed."""
    client = the_client()
    view = the_job(client, job)
    client.wait(view["job_id"], timeout_s or None)
    view = client.jobs_api.call("GET", f"/jobs/{view['job_id']}")
    say(view, ending(view), as_json)
    end(view["state"])
