"""Chooses and reserves a free port."""

from __future__ import annotations

import socket
import time

_ANY = "0.0.0.0"  # noqa: S104 - TensorFlow listens on all addresses
_PATIENCE_S = 3.0
_RETRY_S = 0.1


class HeldPort:
    """A bound but not listening socket.

    While it exists no outgoing connection and nobody who asks for any free port gets this
    port. The program can still listen there, because both sockets say ``SO_REUSEADDR`` (gRPC
    and Python's servers do) and only one listens; a socket that does not listen receives no
    connection. So the port is held for the whole run, over restarts of the program, too.

    Args:
        wanted: the port to hold, for a member that comes back to a running cluster. If somebody
            else listens on it for seconds, it is another one. 0: any free port.
    """

    def __init__(self, wanted: int = 0) -> None:
        found = _exactly(wanted) if wanted else None
        self._socket = found or _any_free()
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()


def _any_free() -> socket.socket:
    found = socket.socket()
    found.bind((_ANY, 0))
    # Only now: a socket that says so from the start may be given a port held by another.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return found


def _exactly(number: int) -> socket.socket | None:
    """The port of a predecessor, whose program may be about to go and whose launcher holds it."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            found.bind((_ANY, number))
        except OSError:
            if time.monotonic() >= deadline:
                found.close()
                return None
            time.sleep(_RETRY_S)
        else:
            return found
