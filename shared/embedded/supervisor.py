"""The supervisor that ``barograph up`` leaves running: ``python -m shared.embedded DIR``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from shared.embedded.ports import DEFAULTS
from shared.embedded.process import EmbeddedError
from shared.embedded.reload import Reloads
from shared.embedded.stack import Stack
from shared.embedded.stackfile import StackFile
from shared.embedded.state import alone_with
from shared.signals import on_signals

log = structlog.get_logger(__name__)

_PORT_TAKEN = ("Address already in use", "eaddrinuse")
"""The words of a server's log when another program took its port first."""


def started(make: Callable[[], Stack]) -> Stack:
    """A stack that runs; one that lost a port between choosing and using it chooses once more.

    Raises:
        EmbeddedError: as ``Stack.start``.
    """
    try:
        stack = make()
        stack.start()
    except EmbeddedError as error:
        if not any(word in str(error) for word in _PORT_TAKEN):
            raise
        log.warning("port_taken_meanwhile")
        stack = make()
        stack.start()
    return stack


def main(state: Path) -> int:
    """Run a stack until SIGTERM or SIGINT."""
    os.umask(0o077)
    stop, reloads = threading.Event(), Reloads()
    on_signals(stop.set)
    on_signals(reloads.reload, (signal.SIGHUP,))
    try:
        with alone_with(state):
            # A supervisor that was killed has left it.
            (state / StackFile.NAME).unlink(missing_ok=True)
            say = partial(print, flush=True)  # to its log, which `barograph up` shows
            stack = started(lambda: Stack(state, default_ports=DEFAULTS, say=say, ending=stop))
            reloads.of(stack)
            try:
                stop.wait()
            finally:
                stack.stop()
    except EmbeddedError as error:
        print(error, file=sys.stderr)  # noqa: T201 - its log is where this is looked for
        return 1
    return 0
