"""The application of ``barograph``: every command and group of commands."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.cli import alerts, config, dead_letters, healing, stack, tokens
from shared.cli.apis import fail
from shared.cli.doctor import doctor
from shared.terminal import (
    OutputLostError,
    end_on_signals,
    table_width,
    take_any_text,
    written_out,
)
from shared.visible import visible

_SOURCES = Path(__file__).parents[2]

app = typer.Typer(
    no_args_is_help=True,
    help="Run everything on one machine, and look after it.",
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise, lines end where they end in the source
)
for _command in (
    stack.up,
    stack.down,
    stack.reload,
    stack.status,
    doctor,
    alerts.alerts,
    alerts.forecasts,
    alerts.acknowledge,
    healing.why,
    healing.health,
    healing.ledger,
):
    app.command()(_command)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"barograph {version('barograph')}")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of the application itself."""


app.add_typer(alerts.silences, name="silences")
app.add_typer(healing.app, name="healing")
app.add_typer(config.app, name="config")
app.add_typer(tokens.app, name="tokens")
app.add_typer(dead_letters.app, name="dead-letters")


@app.command("topology")
def show_topology() -> None:
    """Show who publishes which message to whom."""
    # Imports every contract; the other commands need not wait for that.
    from shared import topology

    table = Table("message", "exchanges", "routing key", "published by", "to queues and outlets")
    for route in topology.ROUTES:
        table.add_row(
            route.message.TYPE,
            ", ".join(topology.sources(route)),
            route.key,
            ", ".join(route.publishers) or "nobody yet",
            ", ".join([*(sub.queue for sub in route.consumers), *filter(None, [route.outlet])]),
        )
    Console(width=table_width()).print(table)


@app.command()
def generate(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing, and fail if a file is stale.")
    ] = False,
) -> None:
    """Write the schemas, the AsyncAPI document, reference pages and the picture from the code."""
    from shared.documents import stale_files, write_files

    changed = stale_files(_SOURCES) if check else write_files(_SOURCES)
    for path in changed:
        typer.echo(f"{'stale' if check else 'wrote'} {path}")
    if check and changed:
        fail("run `make generate` and commit what it writes")


def complete() -> typer.Typer:
    """The application with the commands of other packages, which are found by entry points."""
    known = {command.name for command in app.registered_commands}
    for found in entry_points(group="barograph.commands"):
        if found.name not in known:
            app.command(found.name)(found.load())
    return app


def main() -> None:
    """The command's entry point."""
    take_any_text()
    end_on_signals()
    try:
        with written_out():
            complete()()
    except OutputLostError as error:
        sys.exit(str(error))
    except OSError as error:
        if not error.filename:
            raise
        typer.echo(visible(f"{error.filename}: {error.strerror}"), err=True)
        sys.exit(1)
