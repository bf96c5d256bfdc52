"""Commands that hand in: pack, upload, submit, and what a submit would do."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.client.tshell.checking import (
    check_package,
    check_path,
    check_plan,
    planned,
    syntax_fault,
)
from services.client.tshell.cli import Json, Project, WaitForIt, app, follow, say, the_client
from services.client.tshell.options import JobOptions, takes_job_options
from services.client.tshell.request import Request, from_file, from_options, is_file

if TYPE_CHECKING:
    from shared.client import Client


class DryRun(StrEnum):
    """Who checks a job that is not handed in."""

    CLIENT = "client"
    SERVER = "server"


def _archive_of(path: Path) -> AbstractContextManager[tuple[Path, str]]:
    from shared.client.packages import archive_of  # noqa: PLC0415

    return archive_of(path)


def _upload(client: Client, archive: Path, digest: str, project: str, quiet: bool) -> str:
    """Upload a package with a progress bar; returns bucket:key:file."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("upload", total=archive.stat().st_size)
        return client.upload_archive(archive, digest, project, lambda n: bar.advance(task, n))


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    output: Annotated[
        Path | None, typer.Option("-o", help="The file to write; by default NAME.tar.gz.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack FOLDER/code and FOLDER/data; equal contents give equal bytes."""
    from shared.client.packages import packed as packed_folder  # noqa: PLC0415

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
        package = _upload(the_client(), archive, digest, project, as_json)
    say({"package": package, "sha256": digest}, package, as_json)


@app.command()
@takes_job_options
def submit(
    context: typer.Context,
    job: JobOptions,
    folder: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            help="The folder with code/ and perhaps data/, or a package made by `pack`.",
        ),
    ] = None,
    file: Annotated[
        str,
        typer.Option(
            "-f",
            help="A job's file: the fields of job.submit, or a TFJob, in YAML or JSON. Or the name "
            "of an uploaded package, as `upload` printed it.",
        ),
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Leave out what a TFJob asks for and Barograph does not support."
        ),
    ] = False,
    dry_run: Annotated[
        DryRun | None,
        typer.Option(
            "--dry-run",
            help="Check the job and hand nothing in: on this machine (client), or by the "
            "cluster (server).",
        ),
    ] = None,
    manifests: Annotated[
        bool,
        typer.Option("--manifests", help="With --dry-run: print the Kubernetes objects as YAML."),
    ] = False,
    wait: WaitForIt = False,
    as_json: Json = False,
) -> None:
    """Hand in a job; a FOLDER is packed and uploaded first.

    With -f job.yaml the fields come from this file, or from a kubeflow.org/v1 TFJob; options given
    beside it win, and a FOLDER takes the place of its package or its containers' commands.
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
        if dry_run is not None:
            _dry_run(request, dry_run, manifests, as_json)
            return
        hand_in(request, wait, as_json)


def hand_in(request: Request, wait: bool, as_json: bool) -> None:
    """Ask whether the job can run, and only then upload its package and hand it in."""
    client = the_client()
    with ExitStack() as stack:
        archive = None
        if request.upload is not None:
            archive, digest = stack.enter_context(_archive_of(request.upload))
            request.body["package_sha256"] = digest
        check_plan(client, request)
        if archive is not None:
            project = request.body.get("project", "")
            request.body["package"] = _upload(client, archive, digest, project, as_json)
    handed = client.jobs_api.call("POST", "/jobs", json=request.body)
    job = handed["job_id"]
    if handed["known"]:
        print(f"{job} was handed in before, with the same code and options", file=sys.stderr)
    if not wait or not as_json:
        say(handed, job, as_json)
    if wait:
        follow(client, job, as_json)
    elif not as_json:
        print(f"follow it: tshell logs -f {job}", file=sys.stderr)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def plan(context: typer.Context) -> None:
    """Show what `submit` with the same arguments would create, if it fits; creates nothing."""
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
    answer = planned(the_client(), request.body)
    if answer is None:
        from services.client.tshell.stop import Code, Stop  # noqa: PLC0415

        raise Stop(Code.UNREACHABLE, "the task service did not answer in time")
    if answer["runtime"] == "local" and (fault := syntax_fault(request)):
        field, _, problem = fault.partition(": ")
        answer["faults"] = [*answer["faults"], {"field": field, "problem": problem}]
    if as_json:
        print(json.dumps(answer))
    else:
        from services.client.tshell import shown  # noqa: PLC0415

        shown.plan(answer, manifests)
    if answer["faults"]:
        raise typer.Exit(4)


def _checked_here(body: dict[str, Any], as_json: bool) -> None:
    """The part of the checks that needs no Barograph: the contract's."""
    from pydantic import ValidationError  # noqa: PLC0415

    from services.client.tshell.stop import Code, Stop  # noqa: PLC0415
    from services.client.wording import faults  # noqa: PLC0415
    from shared.contracts import JobSubmit  # noqa: PLC0415

    digest = body.get("package_sha256", "")
    stand_ins = {"job_id": "dry-run", "package": f"barograph:packages:{digest}.tar.gz"}
    try:
        job = JobSubmit.model_validate(stand_ins | body)
    except ValidationError as error:
        lines = [f"{f.field}: {f.problem}".removeprefix(": ") for f in faults(error.errors())]
        raise Stop(Code.BAD_INPUT, "\n".join(lines)) from error
    members = ", ".join(f"{number} {role}" for role, number in job.roles().items())
    say(body, f"valid: {job.name}, {members}; nothing was handed in", as_json)
