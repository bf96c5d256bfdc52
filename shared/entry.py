"""The begin and end of the programs that people start: Ctrl-C ends them in order at any moment."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

from shared.loading import UNNEEDED, loading

_INTERRUPTED = 128 + signal.SIGINT


def run(module: str, function: str = "main", *arguments: object, service: bool = False) -> NoReturn:
    """Load a program's module, call its function and exit with what that returns.

    Loading takes most of a short command's time, and more than a second on a busy machine. Nothing
    has to be put in order while it lasts, so Ctrl-C then has its default action, which ends the
    process without a word, in place of Python's traceback. A program that is started with Ctrl-C
    ignored, as by ``nohup`` or in a script's background, goes on ignoring it. A service is loaded
    without what only draws on terminals.

    This begins when the interpreter has started, after about 40 ms. Before that Python itself
    answers Ctrl-C with its traceback, and no program in Python, nor an option of the interpreter,
    can change it; a launcher in another language could, but not tell it from ``nohup``.
    """
    answers = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if answers:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with loading(UNNEEDED if service else ()):
        main = getattr(importlib.import_module(module), function)
    try:
        if answers:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(main(*arguments))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        if answers and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
