"""The basis of all commands: the application, shared options, and how results are printed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.visible import visible

if TYPE_CHECKING:
    from shared.client import Client

_HELP = """Submit TensorFlow jobs, watch them, read their logs.

Barograph is found by BAROGRAPH_URL (with BAROGRAPH_TOKEN if required), or it is the stack of this
machine.

Exit codes: 0 ok, 1 the job failed or was cancelled, 2 bad input, 3 not reachable, 4 refused,
5 not found.
"""
app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise, lines end where they end in the source
)
_MAX_NAMED = 5
_COMPLETION_S = 2.0
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?")
_opened = ExitStack()
"""Connections to close when the command ends."""


def _memory(text: str) -> str:
    """A memory such as 1.5Gi, a quantity that messages do not have, as one they have."""
    from shared.tfjob import memory

    try:
        return memory(text) if "." in text else text
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _cores(text: str) -> float:
    from shared.tfjob import amount

    try:
        return float(amount(text))
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write cores such as 0.5 or 500m") from error


Memory = Annotated[
    str,
    typer.Option(
        "-m", "--memory", parser=_memory, help="The memory of each container, such as 4Gi."
    ),
]
Cores = Annotated[
    float,
    typer.Option("-c", "--cpu", parser=_cores, help="The number of CPU cores of each container."),
]
WaitForIt = Annotated[
    bool, typer.Option("--wait", help="Follow the job's log until the job has ended.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def _begun(incomplete: str) -> Iterator[tuple[str, str]]:
    """Ids that begin so, for a shell to complete; none when the API does not answer."""
    from shared.client import Client, ClientError

    try:
        with Client() as client:
            newest = client.jobs_api.call(
                "GET", "/jobs", params={"limit": 500}, timeout=_COMPLETION_S
            )["jobs"]
    except ClientError:
        return
    for each in newest:
        if each["job_id"].startswith(incomplete):
            yield each["job_id"], visible(f"{each['name']}, {each['state']}")


Project = Annotated[
    str,
    typer.Option(
        "--project",
        envvar="BAROGRAPH_PROJECT",
        help="The project; by default your only one, otherwise the project default.",
    ),
]
JobId = Annotated[
    str,
    typer.Argument(
        help="The job's id, its beginning, or its name, as `ls` shows them.", autocompletion=_begun
    ),
]


def the_client() -> Client:
    """A connection to the API, closed with the command."""
    from shared.client import Client

    client = Client()
    _opened.callback(client.close)
    return client


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"tshell {version('barograph')}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    context.call_on_close(_opened.close)


def the_job(client: Client, job: str) -> dict[str, Any]:
    """A job by its id, by what only its id begins with, or by a name that only it has."""
    from services.client.tshell.stop import Code, Stop
    from shared.client import NotFoundError

    job = job.strip()  # of a file, or of another command's output
    if _ID.fullmatch(job):
        try:
            return client.jobs_api.ask(dict[str, Any], "GET", f"/jobs/{job}")
        except NotFoundError:
            pass  # it may be the beginning of one, or a name
    newest = client.jobs_api.call("GET", "/jobs", params={"limit": 500})["jobs"]
    # Ids that nobody chose begin with `job-`: a job of the name `job` is not meant by them all.
    found = [each for each in newest if job and each["name"] == job]
    if len(found) != 1:
        begun = [each for each in newest if job and each["job_id"].startswith(job)]
        found = [each for each in newest if each in found or each in begun]
    if not found:
        raise Stop(Code.NOT_FOUND, f"there is no job {job!r}; `tshell ls` shows those there are")
    if len(found) > 1:
        raise Stop(Code.BAD_INPUT, _several(job, found))
    return client.jobs_api.ask(dict[str, Any], "GET", f"/jobs/{found[0]['job_id']}")


def _several(job: str, found: list[dict[str, Any]]) -> str:
    """The jobs that a name or a beginning may mean, newest first, to choose one by its id."""
    lines = [f"{job!r} may be any of these; name one by its id:"]
    for each in found[:_MAX_NAMED]:
        since = each["created_at"][:19].replace("T", " ")
        lines.append(f"  {each['job_id']}  {each['state']}, submitted {since} UTC")
    if len(found) > _MAX_NAMED:
        lines.append(f"  and {len(found) - _MAX_NAMED} older ones; see `tshell ls`")
    return "\n".join(lines)


def ending(view: dict[str, Any]) -> str:
    """Describe a job's end: its duration, its results, and how to fetch them."""
    from datetime import datetime

    from services.client.spans import span

    ended = datetime.fromisoformat(view["updated_at"])
    lasted = (ended - datetime.fromisoformat(view["created_at"])).total_seconds()
    text = f"{view['job_id']}: {view['state']} after {span(lasted)}"
    if view["state"] != "succeeded":
        text += f": {view['reason']}"
    if files := view["stored"]["files"]:
        count, are = (f"{files} files", "are") if files > 1 else ("1 file", "is")
        text += f"\n{count} ({view['stored']['size']:,} bytes) {are} stored"
        text += f": tshell get {view['job_id']}"
    if left_out := view["stored"]["left_out"]:
        what = "files or links were" if left_out > 1 else "file or link was"
        text += f"\n{left_out} {what} not stored: see tshell describe {view['job_id']}"
    if until := view.get("kept_until"):
        until = datetime.fromisoformat(until)
        text += f"\nlogs and results are kept until {until:%Y-%m-%d %H:%M} UTC"
    return text


def say(value: Any, text: str, as_json: bool) -> None:
    """Print ``value`` for programs, or ``text`` for people."""
    print(json.dumps(value) if as_json else visible(text), flush=True)


def follow(client: Client, job: str, as_json: bool, member: str = "") -> None:
    """Print a job's log until its end; ends with the code of that end.

    Where a person interrupts it, the job goes on.
    """
    try:
        state = _printed(client, job, as_json, member)
    except KeyboardInterrupt:
        goes_on = f"{job} goes on. Follow it: tshell logs -f {job}. Stop it: tshell cancel {job}"
        print(f"\n{goes_on}", file=sys.stderr)
        raise
    if not as_json:
        print(visible(_last_sentence(client, job, state)), file=sys.stderr)
    end(state)


def _printed(client: Client, job: str, as_json: bool, member: str) -> str:
    """Print a job's log as it comes, and its state as it changes; the state at its end."""
    from services.client.tshell.printing import LogPrinter, prefix

    alone = speaks_alone(client.jobs_api.call("GET", f"/jobs/{job}"), member)
    printer = LogPrinter()
    state = said = ""
    for event, data in client.jobs_api.events(f"/jobs/{job}/logs/follow"):
        if as_json:
            if member in {"", data.get("member", member)}:
                print(json.dumps({"event": event} | data), flush=True)
        elif event == "log" and member in {"", data["member"]}:
            printer.print(prefix(data["member"], data["incarnation"], alone=alone), data["text"])
        elif event == "state":
            why = ". ".join(filter(None, (data["reason"], data["advice"])))
            before, said = said, f"{job}: {data['state']}: {why}"
            if said != before:  # a continued connection begins with the state
                printer.end_line()
                print(visible(said), file=sys.stderr)
        if event == "end":
            state = data["state"]
    printer.close()
    return state


def _last_sentence(client: Client, job: str, state: str) -> str:
    from shared.client import ClientError

    try:
        return ending(client.jobs_api.call("GET", f"/jobs/{job}"))
    except ClientError:  # removed meanwhile
        return f"{job}: {state}"


def speaks_alone(view: dict[str, Any], member: str) -> bool:
    """Return whether only one member's log is shown, so that its lines need no name before them."""
    return bool(member) or bool(view["submit"] and view["submit"]["type"] == "single")


def end(state: str) -> None:
    """End with the code of a job's state."""
    if state in {"failed", "cancelled"}:
        raise typer.Exit(1)
    if state == "refused":
        raise typer.Exit(4)
