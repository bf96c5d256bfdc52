"""What the kernel says of a process' signals."""

from __future__ import annotations

import signal


def settable(mask: str) -> int:
    """Return of a mask, as in ``/proc/PID/status``, the signals that a program can set.

    Those of the C library's own (32 and 33) it cannot, and they may be inherited as ignored.
    """
    return int(mask, 16) & sum(1 << (number - 1) for number in signal.valid_signals())
