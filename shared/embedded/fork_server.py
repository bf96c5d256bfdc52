"""Starts the services of a stack by forking from one process that has loaded what they share.

Loading takes most of a service's start. ``python -m shared.embedded.fork_server NUMBER`` loads it
once and waits at the socket with that number: for each request, a byte with the descriptors of a
log and of a pipe, it forks a process, and answers with its id. It ends when the socket does.

The new process reads from the pipe what it is: its module and its whole environment. So no setting
of one service, such as its password for the broker, is ever in the memory of another.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import socket
import struct
import sys
from pathlib import Path

from shared.loading import UNNEEDED, loading

PID = struct.Struct("=i")
"""An answer."""
_SHARED = (
    "fastapi",
    "httpx",
    "shared.compiled",
    "shared.messaging",
    "shared.samples.arrow",
    "shared.service.http_service",
    "shared.settings",
    "shared.snapshots",
    "shared.store",
)
"""Modules that at least two services load, or a library that they do."""
_UMASK = 0o077
_ARGUMENTS = 47
"""The place of the address of the arguments' first byte, then that of their end, in ``stat``."""


def main(door: socket.socket) -> str:
    """Fork what is asked for; return the module to run in each new process, else nothing."""
    with loading(UNNEEDED):
        for module in _SHARED:
            importlib.import_module(module)
    while True:
        request, descriptors, _flags, _address = socket.recv_fds(door, 1, 2)
        if not request:
            return ""
        log, order = descriptors
        pid = _forked()
        if not pid:
            door.close()
            return _become(log, order)
        os.close(log)
        os.close(order)
        door.sendall(PID.pack(pid))


def _forked() -> int:
    """The id of a new process whose parent ends at once, or 0 in the new process.

    The supervisor adopts it (see ``forks``), and can wait for its end as for that of any child.
    """
    read, write = os.pipe()
    parent = os.fork()
    if parent:
        os.close(write)
        os.waitpid(parent, 0)
        with os.fdopen(read, "rb") as answer:
            return int(PID.unpack(answer.read())[0])
    os.close(read)
    pid = os.fork()
    if pid:
        os.write(write, PID.pack(pid))
        os._exit(0)
    os.close(write)
    return 0


def _become(log: int, order: int) -> str:
    """Take on the session, files and environment of a service; return its module."""
    os.setsid()
    os.umask(_UMASK)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, log, log)):
        os.dup2(descriptor, number)
    os.close(nothing)
    os.close(log)
    with os.fdopen(order, "rb") as pipe:
        asked = pipe.read()
    if not asked:  # the supervisor has ended meanwhile
        return ""
    module, environment = json.loads(asked)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module]
    _show(module)
    return str(module)


def _show(module: str) -> None:
    """Show the command line that a process of the module's own would have, e.g. to ``ps``."""
    numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    # The state, the third field, is the first after the name in brackets.
    begin, end = (int(number) for number in numbers[_ARGUMENTS - 2 :][:2])
    shown = b"\0".join(os.fsencode(word) for word in (sys.executable, "-m", module))
    if 0 < begin < end:
        ctypes.memmove(begin, shown[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _door:
        _module = main(_door)
    if _module:
        runpy.run_module(_module, run_name="__main__", alter_sys=True)
