"""``tshell``: its commands put together. Libraries are imported where they are used, so that
the help is instant.
"""

from __future__ import annotations

import io
import os
import signal
import sys

from services.client.tshell import handing, keeping, training, watching  # noqa: F401 - they add their commands
from services.client.tshell.cli import app
from services.client.tshell.stop import code_of
from shared.visible import visible


def main() -> None:
    """Run a command; end with its documented code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not fit the encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Who read the output has read enough; Python's own flush at the end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        print(visible(str(error)), file=sys.stderr)
        sys.exit(code)
