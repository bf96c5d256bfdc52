"""Standard output and error of commands."""

from __future__ import annotations

import io
import os
import sys

_UNFOLDED = 1000


def take_any_text() -> None:
    """Have both show what their encoding has no character for as an escape, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def table_width() -> int | None:
    """The width for a table, None for that of the terminal.

    Where no person reads it, such as in a pipe to ``grep``, a row stays one line.
    """
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNFOLDED


def refuse_arguments(module: str, *commands: str) -> None:
    """Exit with the usage if a service was given unknown arguments.

    Args:
        module: what ``python -m`` runs.
        commands: what it does with arguments, each as one writes it; its first word counts.
    """
    if not sys.argv[1:] or sys.argv[1] in {each.split()[0] for each in commands}:
        return
    lines = [
        f"usage: python -m {module}",
        *(f"       python -m {module} {each}" for each in commands),
        "It runs until it gets SIGTERM. Its settings are variables (BAROGRAPH_…) and the file that",
        "BAROGRAPH_CONFIG names: `barograph config show --all` lists them.",
    ]
    asked = sys.argv[1] in {"-h", "--help"}
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)
