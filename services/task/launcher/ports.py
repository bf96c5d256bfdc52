"""Chooses and reserves a free port."""

from __future__ import annotations

import socket


class HeldPort:
    """A bound but not listening socket.

    While it exists no outgoing connection and nobody who asks for any free port gets this
    port. The program can still listen there, because both sockets say ``SO_REUSEADDR`` (gRPC
    and Python's servers do) and only one listens; a socket that does not listen receives no
    connection. So the port is held for the whole run, over restarts of the program, too.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("0.0.0.0", 0))  # noqa: S104 - TensorFlow listens on all addresses
        # Only now: a socket that says so from the start may be given a port held by another.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()
