"""Standard output and error of commands."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFOLDED = 1000
_LOST = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def take_any_text() -> None:
    """Have both show what their encoding has no character for as an escape, and not fail.

    What the caller has closed (``>&-``) takes everything and shows nothing.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def written_out() -> Iterator[None]:
    """Run a command and write all of its output, so that a loss of it is the command's own error.

    Raises:
        OutputLostError: when standard output takes no more, as of a full disk.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is not None or error.errno not in _LOST:
            raise
        # Python's own flush at the end would fail again, with another exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputLostError(f"standard output cannot be written: {error.strerror}") from error


class OutputLostError(Exception):
    """Standard output cannot be written."""


def end_on_signals() -> None:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does: its temporary files go."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


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
