"""The signals that a process ignores, by itself or by whom it was started."""

from __future__ import annotations

import signal


def settable(mask: str) -> int:
    """Return of a mask, as in ``/proc/PID/status``, the signals that a program can set.

    Those of the C library's own (32 and 33) it cannot, and they may be inherited as ignored.
    """
    return int(mask, 16) & sum(1 << (number - 1) for number in signal.valid_signals())


def hear_the_keyboard() -> None:
    """Answer Ctrl-C and Ctrl-\\ as in the foreground.

    A shell starts a script's background with both ignored, and so would be whatever tests start.
    """
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
