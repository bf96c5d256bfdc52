"""Pages of commands, from the programs themselves."""

from __future__ import annotations

import re

import typer
import typer.cli
import typer.main

from shared.documents.markdown import document


def commands_page(name: str, app: typer.Typer) -> str:
    """Every command of a program with its arguments and options, as typer writes them."""
    command = typer.main.get_command(app)
    text = typer.cli.get_docs_for_click(
        obj=command,
        ctx=typer.Context(command),
        name=name,
        title=f"The commands of {name}",
    )
    # Docstrings mark code as reStructuredText does.
    return document(re.sub(r"(?<!`)``(?!`)", "`", text).rstrip())
