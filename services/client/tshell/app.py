"""``tshell``: assembles its commands. Libraries are imported where they are used, so that
the help is instant.
"""

from __future__ import annotations

import os
import signal
import sys

from services.client.tshell import keeping, submitting, training, watching  # noqa: F401 - they add their commands
from services.client.tshell.cli import app
from services.client.tshell.stop import code_of
from shared.terminal import end_on_signals, take_any_text, written_out
from shared.visible import visible


def main() -> None:
    """Run a command; end with its documented code."""
    take_any_text()
    end_on_signals()
    try:
        with written_out():
            app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has closed the pipe; Python's own flush at the end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        print(visible(str(error)), file=sys.stderr)
        sys.exit(code)
