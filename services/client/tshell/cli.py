"""What all commands share: the application, its common options, and how results are said."""

from __future__ import annotations

import json
import sys
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


def the_door() -> Door:
    """A connection to the API."""
    from services.client.tshell.door import Door, address  # noqa: PLC0415

    return Door(address())


def say(value: Any, text: str, as_json: bool) -> None:
    """``value`` for programs, or ``text`` for people."""
    print(json.dumps(value) if as_json else text)


def follow(door: Door, job: str, as_json: bool, member: str = "") -> None:
    """Print a job's log until its end; ends with the code of that end."""
    from services.client.tshell.printing import LogPrinter, prefix  # noqa: PLC0415

    alone = speaks_alone(door, job, member)
    printer = LogPrinter()
    state = ""
    for event, data in door.follow(job):
        if as_json:
            if member in {"", data.get("member", member)}:
                print(json.dumps({"event": event} | data), flush=True)
        elif event == "log" and member in {"", data["member"]}:
            printer.print(prefix(data["member"], data["incarnation"], alone=alone), data["text"])
        if event == "end":
            state = data["state"]
    printer.close()
    if not as_json:
        print(f"{job}: {state}", file=sys.stderr)
    end(state)


def speaks_alone(door: Door, job: str, member: str) -> bool:
    """Whether only one member's log is shown, so that its lines need no name before them."""
    if member:
        return True
    asked = door.call("GET", f"/jobs/{job}")["submit"]
    return bool(asked) and asked["type"] == "single"


def end(state: str) -> None:
    """End with the code of a job's state."""
    if state in {"failed", "cancelled"}:
        raise typer.Exit(1)
    if state == "refused":
        raise typer.Exit(4)
