"""Prepares the process of the user's program, then executes it.

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
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000


def main() -> None:
    wanted = json.load(sys.stdin)
    for entrance in wanted["cgroups"]:
        with open(entrance, "w") as file:  # noqa: PTH123 - pathlib would slow each start
            file.write(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    if wanted["uid"] is not None:
        _show_accounts(libc, wanted["accounts"])
        os.setgroups([])
        os.setresgid(*[wanted["uid"]] * 3)
        os.setresuid(*[wanted["uid"]] * 3)
    if 0 in (*os.getresuid(), *(os.getresgid() if wanted["uid"] is not None else ())):
        sys.exit("a program never runs as root")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("the program could gain rights, so it is not started")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != wanted["parent"]:
        sys.exit("the launcher has ended")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.umask(0o022)
    _forget_signals()
    os.chdir(wanted["cwd"])
    os.execve(wanted["argv"][0], wanted["argv"], wanted["env"])  # noqa: S606 - no shell meant


def _forget_signals() -> None:
    """Give the program every signal as a shell would: what is ignored stays so beyond execve.

    Python ignores SIGPIPE, the launcher SIGINT, and whoever started the platform by nohup or in a
    script's background SIGHUP and SIGQUIT as well.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _show_accounts(libc: ctypes.CDLL, accounts: list[list[str]]) -> None:
    """Let the program's user have a name, for those who ask the system for it.

    Mounts of a name space of its own are for the program alone. Where they are not allowed (in
    some containers) the user has a number only; USER, LOGNAME and HOME are set in any case.
    """
    if libc.unshare(_CLONE_NEWNS) != 0:
        return
    # Otherwise the mounts made here would be visible on the whole machine.
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None) != 0:
        return
    for source, target in accounts:
        libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None)


if __name__ == "__main__":
    main()
