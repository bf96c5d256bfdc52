"""Commands about what jobs leave, and about having them again."""

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
from services.client.tshell.handing import hand_in
from services.client.tshell.request import Request, given
from shared.visible import visible


@app.command()
def get(
    job: JobId,
    path: Annotated[
        str,
        typer.Option(
            "--path", help="Fetch only this file or folder, such as model or output/x.csv."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The folder to write to; by default it is named as the job."
        ),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="List the files that there are, and fetch none.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch what a job left: its model and its output files."""
    from services.client.tshell.stop import Code, Stop  # noqa: PLC0415

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
        str, typer.Option("--id", help="The id of the new job; by default one is made up.")
    ] = "",
    memory: Memory = "",
    cpu: Cores = 0.0,
    wait_for_it: WaitForIt = False,
    as_json: Json = False,
) -> None:
    """Hand in a job again, as a new one with the same code, data and options."""
    from services.client.tshell.stop import Code, Stop  # noqa: PLC0415

    view = the_job(the_client(), job)
    if view["submit"] is None:
        raise Stop(
            Code.NOT_FOUND, f"what {view['job_id']} was handed in with is not known any more"
        )
    body = {name: value for name, value in view["submit"].items() if name != "job_id"}
    asked: dict[str, Any] = given({"memory": memory, "cpu": cpu})
    body["resources"] |= asked
    body["role_resources"] = {r: each | asked for r, each in body["role_resources"].items()}
    hand_in(Request(body | given({"job_id": job_id}), None), wait_for_it, as_json)


@app.command()
def wait(
    job: JobId,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0,
            help="The seconds to wait; afterwards the command ends with status 3. 0: without end.",
        ),
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Wait until a job has ended, without its log; ends with 1 when it failed."""
    client = the_client()
    view = the_job(client, job)
    client.wait(view["job_id"], timeout_s or None)
    view = client.jobs_api.call("GET", f"/jobs/{view['job_id']}")
    say(view, ending(view), as_json)
    end(view["state"])
