"""The commands. What takes long to import is imported where it is used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from services.client.tshell.door import Door

_HELP = """Hand in TensorFlow jobs, watch them, read their logs.

Finds Barograph by BAROGRAPH_URL (BAROGRAPH_TOKEN if it asks for one), or the stack of this
machine.

Exit codes: 0 ok, 1 the job failed or was cancelled, 2 bad input, 3 not reachable, 4 refused,
5 not found.
"""
app = typer.Typer(help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[str, typer.Argument(help="The job's id, as `ls` shows it.")]


def main() -> None:
    """Run a command; end with its documented code."""
    from services.client.tshell.door import Stop  # noqa: PLC0415 - httpx only when needed

    try:
        app()
    except Stop as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        sys.exit(130)


def _door() -> Door:
    from services.client.tshell.door import Door, address  # noqa: PLC0415

    return Door(address())


def _say(value: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(value) if as_json else text)


def _packed(folder: Path, archive: Path) -> Any:
    from services.client.tshell.door import Code, Stop  # noqa: PLC0415
    from shared.packages import PackageError, pack  # noqa: PLC0415

    try:
        return pack(folder, archive)
    except (PackageError, OSError) as error:
        raise Stop(Code.BAD_INPUT, str(error)) from error


def _upload(path: Path, quiet: bool) -> tuple[str, str]:
    """Upload a folder or an archive with a progress bar; (bucket:key:file, sha256)."""
    import hashlib  # noqa: PLC0415
    import tempfile  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory:
        archive = path
        if path.is_dir():
            archive = _packed(path, Path(directory) / "package.tar.gz").path
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
            task = bar.add_task("upload", total=archive.stat().st_size)
            return _door().upload(archive, digest, lambda n: bar.advance(task, n)), digest


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    output: Annotated[Path | None, typer.Option("-o", help="Default: NAME.tar.gz.")] = None,
    as_json: Json = False,
) -> None:
    """Pack FOLDER/code and FOLDER/data; equal contents give equal bytes."""
    packed = _packed(folder, output or Path(f"{folder.resolve().name}.tar.gz"))
    value = {"path": str(packed.path), "sha256": packed.sha256, "size": packed.size}
    _say(value, f"{packed.path}  {packed.size} bytes  sha256 {packed.sha256}", as_json)


@app.command()
def upload(
    path: Annotated[Path, typer.Argument(exists=True, help="A folder or a package.")],
    as_json: Json = False,
) -> None:
    """Upload a package; an interrupted upload is continued."""
    package, digest = _upload(path, as_json)
    _say({"package": package, "sha256": digest}, package, as_json)


@app.command()
def submit(
    folder: Annotated[Path | None, typer.Argument(exists=True, help="Folder or package.")] = None,
    main_program: Annotated[str, typer.Option("-d", "--main", help="Main program.")] = "main.py",
    file: Annotated[str, typer.Option("-f", help="As upload printed it, if uploaded before.")] = "",
    memory: Annotated[str, typer.Option("-m", help="Memory of each container.")] = "2048Mi",
    kind: Annotated[str, typer.Option("-t", help="single or distribute.")] = "single",
    name: Annotated[str, typer.Option("-n", help="Task name.")] = "",
    cpu: Annotated[float, typer.Option("-c", help="CPU cores of each container.")] = 1.0,
    gpu: Annotated[int, typer.Option("-g", help="GPUs of each container.")] = 0,
    ps: Annotated[int, typer.Option("--ps", help="Parameter servers.")] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Workers.")] = 0,
    chief: Annotated[bool, typer.Option("--chief", help="A chief beside them.")] = False,
    style: Annotated[str, typer.Option("--style", help="tf_config or flags.")] = "tf_config",
    arg: Annotated[list[str] | None, typer.Option("--arg", help="For the program.")] = None,
    job_id: Annotated[str, typer.Option("--id", help="Own id: repeating is harmless.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow until the end.")] = False,
    as_json: Json = False,
) -> None:
    """Hand in a job; a FOLDER is packed and uploaded first."""
    from services.client.tshell.door import Code, Stop  # noqa: PLC0415

    if bool(folder) == bool(file):
        raise Stop(Code.BAD_INPUT, "give either a folder (or package) or -f bucket:key:file")
    package, digest = _upload(folder, as_json) if folder else (file, None)
    default = folder.resolve().name.removesuffix(".tar.gz") if folder else "job"
    body: dict[str, Any] = {
        "name": name or default, "type": kind, "package": package, "package_sha256": digest,
        "main": main_program, "ps": ps, "workers": workers, "chief": chief,
        "cluster_style": style, "args": arg or [],
        "resources": {"cpu": cpu, "gpu": gpu, "memory": memory},
    }  # fmt: skip
    if job_id:
        body["job_id"] = job_id
    door = _door()
    handed = door.call("POST", "/jobs", json=body)
    if not wait or not as_json:
        _say(handed, handed["job_id"], as_json)
    if wait:
        _follow(door, handed["job_id"], as_json)


@app.command("ls")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option("--state", help="Only these.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500)] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    page = _door().call("GET", "/jobs", params={"limit": limit, "state": state or []})
    if as_json:
        print(json.dumps(page))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("job", "name", "state", "changed", "why")
    for job in page["jobs"]:
        changed = job["updated_at"][:19].replace("T", " ")
        table.add_row(job["job_id"], job["name"], job["state"], changed, Text(job["reason"]))
    Console().print(table)


@app.command()
def status(job: JobId, as_json: Json = False) -> None:
    """State and reason; ends with 1 when the job failed."""
    view = _door().call("GET", f"/jobs/{job}")
    _say(view, f"{view['state']}  {view['reason']}", as_json)
    _end(view["state"])


@app.command()
def describe(job: JobId, as_json: Json = False) -> None:
    """Everything known of a job."""
    view = _door().call("GET", f"/jobs/{job}")
    print(json.dumps(view) if as_json else json.dumps(view, indent=2, ensure_ascii=False))


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Until the job ends.")] = False,
    member: Annotated[str, typer.Option("--member", help="Only this one, e.g. worker-0.")] = "",
    as_json: Json = False,
) -> None:
    """Print a job's log."""
    door = _door()
    if follow:
        _follow(door, job, as_json, member)
        return
    text = door.text(f"/jobs/{job}/logs", params={"member": member} if member else {})
    if as_json:
        print(json.dumps({"text": "".join(text)}))
        return
    for piece in text:
        sys.stdout.write(piece)


@app.command()
def cancel(
    job: JobId,
    reason: Annotated[str, typer.Option("--reason")] = "cancelled by the user",
    as_json: Json = False,
) -> None:
    """Stop a job; what it has done so far is stored."""
    handed = _door().call("POST", f"/jobs/{job}/cancel", json={"reason": reason})
    _say(handed, f"{job}: cancel handed in", as_json)


@app.command()
def rm(job: JobId, as_json: Json = False) -> None:
    """Forget an ended job: its record, logs and model."""
    _say(_door().call("DELETE", f"/jobs/{job}"), f"{job}: removal handed in", as_json)


def _follow(door: Door, job: str, as_json: bool, member: str = "") -> None:
    for event, data in door.follow(job):
        if as_json:
            print(json.dumps({"event": event} | data), flush=True)
        elif event == "log" and member in {"", data["member"]}:
            for line in data["text"].splitlines():
                print(f"{data['member']}  {line}", flush=True)
        elif event == "end":
            print(f"{job}: {data['state']}", file=sys.stderr)
        if event == "end":
            _end(data["state"])


def _end(state: str) -> None:
    if state in {"failed", "cancelled"}:
        raise typer.Exit(1)
    if state == "refused":
        raise typer.Exit(4)
