"""What all commands share: the application, its common options, and how results are said."""

from __future__ import annotations

import json
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
    import sys  # noqa: PLC0415

    for event, data in door.follow(job):
        if as_json:
            if member in {"", data.get("member", member)}:
                print(json.dumps({"event": event} | data), flush=True)
        elif event == "log" and member in {"", data["member"]}:
            again = f"/{data['incarnation']}" if data["incarnation"] > 1 else ""
            for line in data["text"].splitlines():
                print(f"{data['member']}{again}  {line}", flush=True)
        elif event == "end":
            print(f"{job}: {data['state']}", file=sys.stderr)
        if event == "end":
            end(data["state"])


def end(state: str) -> None:
    """End with the code of a job's state."""
    if state in {"failed", "cancelled"}:
        raise typer.Exit(1)
    if state == "refused":
        raise typer.Exit(4)
