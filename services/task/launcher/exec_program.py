"""Becomes the user's program: run as a script, in a process of its own, before its first line.

Reads what to become as JSON from standard input, so that nothing of it shows in the arguments.
Order matters: control groups need our rights, and the parent-death signal is forgotten when the
user changes. Imports nothing but the standard library: it must start fast.
"""

import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    wanted = json.load(sys.stdin)
    for entrance in wanted["cgroups"]:
        with open(entrance, "w") as file:  # noqa: PTH123 - pathlib would slow each start
            file.write(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if wanted["uid"] is not None:
        os.setgroups([])
        os.setgid(wanted["uid"])
        os.setuid(wanted["uid"])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != wanted["parent"]:
        sys.exit("the launcher has ended")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.umask(0o022)
    os.chdir(wanted["cwd"])
    os.execve(wanted["argv"][0], wanted["argv"], wanted["env"])  # noqa: S606 - no shell meant


if __name__ == "__main__":
    main()
