"""A member on this machine: user, control groups and process of its program."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from services.task import cgroups, processes
from services.task.launcher import package
from services.task.launcher.environment import Places
from services.task.launcher.ground import Order, RunningProgram
from services.task.launcher.program import Command, Program, unprivileged_user
from services.task.spec import LAUNCHER_FILE, LauncherProcess, MemberSpec
from shared.contracts import PodExited, deterministic_id, memory_bytes
from shared.storage import MemberStore


class Machine:
    """Where a local member works: below ``spec.directory``."""

    def __init__(self, spec: MemberSpec, store: MemberStore) -> None:
        self._spec, self._store = spec, store
        self._directory = Path(spec.directory)
        asked = spec.job.resources_of(spec.member.role)
        self._memory = memory_bytes(asked.memory)
        name = f"barograph-{deterministic_id('member', spec.key)}"
        self._cgroup = cgroups.create(name, asked.cpu, self._memory)
        self.notes: list[str] = list(self._cgroup.notes)
        self.sees_all = True
        self.owner: int | None = None

    def broker_url(self) -> str:
        """The same for life: nobody could hand us another."""
        return self._spec.credentials.broker_url

    def record(self) -> None:
        """Let the runtime find us, also after its own restart."""
        known = LauncherProcess(
            pid=os.getpid(),
            started=processes.start_time(os.getpid()) or 0,
            cgroups=tuple(str(directory) for directory in self._cgroup.directories),
        )
        temporary = self._directory / "launcher.tmp"
        temporary.write_text(known.model_dump_json())
        temporary.rename(self._directory / LAUNCHER_FILE)

    def prepare(self) -> tuple[Places, Path]:
        """Fetch the package and make the program's directories.

        Raises:
            Unusable: with the reason.
        """
        work = self._directory / "work"
        work.mkdir(exist_ok=True)
        found = package.obtain(self._store, self._spec, work)
        places = Places(found.code, found.data, work, Path(self._spec.checkpoints))
        places.make()
        needed = [Path(sys.executable).parent, Path(sys.prefix) / "lib", self._directory]
        self.owner, note = unprivileged_user(self._spec.job.job_id, [*needed, work])
        if note:
            self.notes.append(note)
        if not self._cgroup.memory:
            self.notes.append("memory is limited by watching it twice a second")
        if self.owner is not None:
            _give(places.checkpoints, self.owner)
            _give(work, self.owner)
        work.chmod(0o700)
        return places, found.main

    def start(
        self, order: Order, output: int, ended: Callable[[RunningProgram], None]
    ) -> RunningProgram:
        """Run the program, its output going to the descriptor ``output``."""
        command = Command(
            argv=[sys.executable, *order.argv],
            env=order.env,
            cwd=order.cwd,
            uid=self.owner,
            memory=self._memory,
        )
        return Program(command, self._cgroup, output, ended)

    def save(self) -> None:
        """Checkpoints are in a directory that outlives us already."""

    def close(self, _end: PodExited | None) -> None:
        """Leave nothing behind."""
        self._cgroup.remove()


def _give(directory: Path, uid: int) -> None:
    """Make ``uid`` the owner of ``directory`` and all below; links are not followed."""
    shutil.chown(directory, uid, uid)
    for parent, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            os.chown(Path(parent) / name, uid, uid, follow_symlinks=False)
