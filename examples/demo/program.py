"""``python -m examples.demo``: show both flows, then say what happened.

Exit status: 0 when every part showed what it should, 1 when one did not, 2 when the machine
lacks something, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape

from examples.demo import parts, summary
from examples.demo.scene import PartFailedError, Scene
from examples.demo.summary import Chapter
from shared.embedded.process import EmbeddedError

_PARTS: dict[str, Callable[[Scene], Iterator[Chapter]]] = {
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
    console = Console(width=None if sys.stdout.isatty() else 100)
    begin = time.monotonic()
    chapters: list[Chapter] = []
    problems: list[str] = []
    try:
        with Scene(console, keep=options.keep) as scene:
            for name in options.only or _PARTS:
                try:
                    chapters.extend(_PARTS[name](scene))
                except PartFailedError as error:
                    problems.append(f"{name}: {error}")
                    console.print(f"[red]{name} failed:[/] {escape(str(error))}")
            summary.show(console, chapters, scene.stack.file if options.keep else None)
            if options.keep:
                console.print("It keeps running; Ctrl-C stops it.")
                signal.pause()
            scene.keep = bool(problems)
    except EmbeddedError as error:
        console.print(f"[red]cannot start:[/] {escape(str(error))}")
        return 2
    except KeyboardInterrupt:
        return 130
    for problem in problems:
        console.print(f"[red]failed:[/] {escape(problem)}")
    if not problems:
        console.print(
            f"All parts passed in {time.monotonic() - begin:.0f} s. Everything is stopped again; "
            "`make demo ARGS=--keep` leaves it running, so that the links can be opened."
        )
    return 1 if problems else 0
