"""``barograph dead-letters``: messages that could not be handled: list, inspect, replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.cli.apis import fail
from shared.cli.options import AsJson, State
from shared.embedded.process import EmbeddedError
from shared.embedded.stackfile import DEFAULT_STATE, read_stack_file
from shared.visible import visible

if TYPE_CHECKING:
    from shared.messaging.dead_letters import DeadLetters

_AGENT = "agent."
"""The names of the queues of single machines."""
app = typer.Typer(
    no_args_is_help=True, help="List, inspect and replay messages that could not be handled."
)

Url = Annotated[
    str,
    typer.Option(
        "--broker", envvar="BAROGRAPH_BROKER_URL", help="The AMQP URL of the broker user operator."
    ),
]


@app.command("list")
def list_queues(state: State = DEFAULT_STATE, url: Url = "", as_json: AsJson = False) -> None:
    """Count the dead letters of every work queue."""
    with _letters(state, url) as letters:
        counts = letters.counts()
    if as_json:
        typer.echo(json.dumps(counts))
        return
    table = Table("queue", "dead letters")
    for queue, count in counts.items():
        table.add_row(queue, str(count))
    Console().print(table)


@app.command()
def inspect(
    queue: Annotated[str, typer.Argument(help="The work queue, such as task.jobs.")],
    limit: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="The number of dead letters to show, oldest first."),
    ] = 20,
    state: State = DEFAULT_STATE,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Show dead letters with their reasons, without removing them."""
    _check_name(queue)
    with _letters(state, url) as letters:
        found = letters.look(queue, limit)
    if not found and not as_json:
        typer.echo(f"{visible(queue)} has no dead letters")
    for letter in found:
        shown = vars(letter) | {"body": letter.body.decode("utf-8", errors="replace")}
        if as_json:
            typer.echo(json.dumps(shown))
        else:
            lines = (f"{name:<12} {visible(str(value))}" for name, value in shown.items())
            typer.echo("\n".join(lines) + "\n")


@app.command()
def replay(
    queue: Annotated[str, typer.Argument(help="The work queue, such as task.jobs.")],
    message_id: Annotated[
        str, typer.Option("--id", help="Send only the message with this id.")
    ] = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
) -> None:
    """Send dead letters to their queue again, for example after a bug was fixed."""
    _check_name(queue)
    with _letters(state, url) as letters:
        count = letters.replay(queue, message_id or None)
    typer.echo(f"replayed {count}")
    if message_id and not count:
        raise typer.Exit(1)


def _check_name(queue: str) -> None:
    """End the command where no service has such a queue."""
    from shared.messaging.dead_letters import work_queue_names

    known = work_queue_names()
    if queue not in known and not queue.startswith(_AGENT):
        fail(f"{visible(queue)} is no work queue; there are {', '.join(known)}, agent.MACHINE")


@contextmanager
def _letters(state: Path, url: str) -> Iterator[DeadLetters]:
    # Imports the client library and every contract; the other commands need not wait for that.
    from shared.messaging.dead_letters import DeadLetters
    from shared.messaging.errors import MessagingError

    try:
        yield DeadLetters(url or read_stack_file(state).broker_urls["operator"])
    except (EmbeddedError, MessagingError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
