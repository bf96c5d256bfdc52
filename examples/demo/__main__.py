"""``python -m examples.demo``: show both flows, then a table of what happened.

Exit status: 0 when every part showed what it should, 1 when one did not, 2 when the machine
lacks something, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import astuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.demo import parts
from examples.demo.parts import Row
from examples.demo.scene import PartFailedError, Scene
from shared.embedded.process import EmbeddedError

_PARTS: dict[str, Callable[[Scene], list[Row]]] = {
    "jobs": parts.jobs,
    "logs": parts.logs,
    "cpu": parts.cpu,
}


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--only", choices=_PARTS, action="append", help="only this part")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    options = parser.parse_args()
    # Whoever ends the demonstration ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=None if sys.stdout.isatty() else 120)
    begin = time.monotonic()
    rows: list[Row] = []
    problems: list[str] = []
    try:
        with Scene(console, keep=options.keep) as scene:
            for name in options.only or _PARTS:
                try:
                    rows += _PARTS[name](scene)
                except PartFailedError as error:
                    problems.append(f"{name}: {error}")
                    console.print(f"[red]{name} failed:[/] {escape(str(error))}")
            _summary(console, scene, rows)
            if options.keep:
                console.print("It keeps running; Ctrl-C stops it.")
                signal.pause()
            if problems:
                scene.keep = True
    except EmbeddedError as error:
        console.print(f"[red]cannot start:[/] {escape(str(error))}")
        return 2
    except KeyboardInterrupt:
        return 130
    console.print(
        escape("; ".join(problems)) or f"All parts passed in {time.monotonic() - begin:.0f} s."
    )
    return 1 if problems else 0


def _summary(console: Console, scene: Scene, rows: list[Row]) -> None:
    table = Table(title="What happened", show_lines=True)
    for heading in ("part", "seen", "predicted (UTC)", "due (UTC)", "what was done", "where"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in astuple(row)))
    console.print(table)
    file = scene.stack.file
    places = f"page {file.client_url}  mail {file.maildir}  logs {file.logs}"
    console.print(f"{places}\nthe page's token: {file.client_token}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
