"""Commands that submit jobs: pack, upload, submit, plan."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.client.tshell.checking import (
    check_arguments,
    check_package,
    check_path,
    check_plan,
    syntax_fault,
)
from services.client.tshell.cli import Json, Project, WaitForIt, app, follow, say, the_client
from services.client.tshell.options import JobOptions, takes_job_options
from services.client.tshell.request import Request, from_file, from_options, is_file

if TYPE_CHECKING:
    from shared.client import Client


class DryRun(StrEnum):
    """The place where a dry run checks a job."""

    CLIENT = "client"
    SERVER = "server"


def _archive_of(path: Path) -> AbstractContextManager[tuple[Path, str]]:
    from shared.client.packages import archive_of

    return archive_of(path)


def _upload(client: Client, archive: Path, digest: str, project: str, *, quiet: bool) -> str:
    """Upload a package with a progress bar; returns bucket:key:file."""
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    quiet = quiet or not console.is_terminal  # a log needs no bar
    with Progress(*columns, console=console, disable=quiet) as bar:
        task = bar.add_task("upload", total=archive.stat().st_size)
        return client.upload_archive(archive, digest, project, lambda n: bar.advance(task, n))


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write; by default NAME.tar.gz."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack FOLDER/code and FOLDER/data; equal contents give equal bytes."""
    from shared.client.packages import packed as packed_folder

    packed = packed_folder(folder, output or Path(f"{folder.resolve().name}.tar.gz"))
    value = {"path": str(packed.path), "sha256": packed.sha256, "size": packed.size}
    say(value, f"{packed.path}  {packed.size} bytes  sha256 {packed.sha256}", as_json)


@app.command()
def upload(
    path: Annotated[
        Path, typer.Argument(exists=True, help="The folder, or a package made by `pack`.")
    ],
    project: Project = "",
    as_json: Json = False,
) -> None:
    """Upload a package; an interrupted upload is continued."""
    check_path(path)
    with _archive_of(path) as (archive, digest):
        package = _upload(the_client(), archive, digest, project, quiet=as_json)
    say({"package": package, "sha256": digest}, package, as_json)


_Folder = Annotated[
    Path | None,
    typer.Argument(
        exists=True, help="A folder with code/ and optionally data/, or a package made by `pack`."
    ),
]
_JobFile = Annotated[
    str,
    typer.Option(
        "-f",
        "--file",
        help="A job file in YAML or JSON, with the fields of job.submit or a TFJob, - for standard "
        "input; or the name of an uploaded package, as printed by `upload`.",
    ),
]
_Force = Annotated[
    bool,
    typer.Option("--force", help="Ignore the fields of a TFJob that Barograph does not support."),
]
_CheckOnly = Annotated[
    DryRun | None,
    typer.Option(
        "--dry-run",
        help="Check the job without submitting it: on this machine (client), or by the "
        "installation (server).",
    ),
]
_Manifests = Annotated[
    bool,
    typer.Option("--manifests", help="With --dry-run: print the Kubernetes objects as YAML."),
]


@app.command()
@takes_job_options
def submit(
    context: typer.Context,
    job: JobOptions,
    folder: _Folder = None,
    file: _JobFile = "",
    force: _Force = False,
    dry_run: _CheckOnly = None,
    manifests: _Manifests = False,
    wait: WaitForIt = False,
    as_json: Json = False,
) -> None:
    """Submit a job; a FOLDER is packed and uploaded first.

    With -f job.yaml the fields come from this file, or from a kubeflow.org/v1 TFJob. Options
    override them, and a FOLDER replaces its package or its containers' commands.
    """
    with tempfile.TemporaryDirectory() as directory:
        if is_file(file):
            spoken = job.spoken(context)
            request = from_file(Path(file), folder, spoken, Path(directory) / "tfjob", force)
        else:
            request = from_options(folder, file, job.body())
        if project := os.environ.get("BAROGRAPH_PROJECT"):
            request.body.setdefault("project", project)
        check_package(request)
        check_arguments(request)
        if dry_run is not None:
            _dry_run(request, dry_run, manifests, as_json)
            return
        send(request, wait, as_json)


def send(request: Request, wait: bool, as_json: bool) -> None:
    """Ask whether the job can run, and only then upload its package and submit it."""
    client = the_client()
    submitted = client.submit_request(
        request.body,
        request.upload,
        review=lambda plan: check_plan(request, plan),
        upload=lambda *package: _upload(client, *package, quiet=as_json),
    )
    job = submitted.job_id
    if submitted.known:
        print(f"{job} was submitted before, with the same code and options", file=sys.stderr)
    if not wait or not as_json:
        say(submitted.model_dump(), job, as_json)
    if wait:
        follow(client, job, as_json)
    elif not as_json:
        print(f"follow it: tshell logs -f {job}", file=sys.stderr)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def plan(context: typer.Context) -> None:
    """Show what `submit` with the same arguments would create and whether it fits."""
    group = context.parent
    if group is None or not hasattr(group.command, "get_command"):
        raise AssertionError("plan runs below the application")
    command = group.command.get_command(group, "submit")
    arguments = [*context.args, "--dry-run", "server"]
    with command.make_context("plan", arguments, parent=group) as planned:
        command.invoke(planned)


def _dry_run(request: Request, by: DryRun, manifests: bool, as_json: bool) -> None:
    if request.upload is not None:
        with _archive_of(request.upload) as (_archived, digest):
            request.body["package_sha256"] = digest
    if by is DryRun.CLIENT:
        _checked_here(request.body, as_json)
        return
    plan = the_client().plan(**request.body)
    if plan is None:
        from services.client.tshell.stop import Code, Stop

        raise Stop(Code.UNREACHABLE, "the task service did not answer in time")
    answer = plan.model_dump(mode="json")
    if answer["runtime"] == "local" and (fault := syntax_fault(request)):
        field, _, problem = fault.partition(": ")
        answer["faults"] = [*answer["faults"], {"field": field, "problem": problem}]
    if as_json:
        print(json.dumps(answer))
    else:
        from services.client.tshell import shown

        shown.plan(answer, manifests)
    if answer["faults"]:
        raise typer.Exit(4)


def _checked_here(body: dict[str, Any], as_json: bool) -> None:
    """The part of the checks that needs no Barograph: the contract's."""
    from pydantic import ValidationError

    from services.client.tshell.stop import Code, Stop
    from services.client.wording import faults
    from shared.contracts import JobSubmit
    from shared.job_checks import job_faults

    digest = body.get("package_sha256", "")
    stand_ins = {"job_id": "dry-run", "package": f"barograph:packages:{digest}.tar.gz"}
    try:
        job = JobSubmit.model_validate(stand_ins | body)
    except ValidationError as error:
        lines = [f"{f.field}: {f.problem}".removeprefix(": ") for f in faults(error.errors())]
        raise Stop(Code.BAD_INPUT, "\n".join(lines)) from error
    if lines := [f"{field}: {problem}" for field, problem in job_faults(job)]:
        raise Stop(Code.BAD_INPUT, "\n".join(lines))
    members = ", ".join(f"{number} {role}" for role, number in job.roles().items())
    say(body, f"valid: {job.name}, {members}; nothing was submitted", as_json)
