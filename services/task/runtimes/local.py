"""The local runtime: members are processes of this machine.

Each incarnation has a directory ``<work>/<job>/<role>-<index>/<incarnation>``. Its launcher
locks ``lock`` there for life and then writes ``launcher.json`` (pid, start time, control
groups): so two launchers can never run the same incarnation, whenever we or they are killed,
and after a restart we find those that live. Launchers are sessions of their own and outlive us.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

import services
from services.task import cgroups, processes
from services.task.records import primary
from services.task.runtime import MemberSpec, Observed, RuntimeUnavailable, member_key
from services.task.runtimes import directories, leftovers
from services.task.runtimes.member_files import end_of, launcher_of
from services.task.settings import TaskSettings
from services.task.spec import LAUNCHER_FILE, Credentials
from services.task.users import Users
from shared import trees
from shared.contracts import JobSubmit, Member, Role
from shared.settings import host_name

log = structlog.get_logger(__name__)

_CODE = Path(services.__file__).parent.parent
_SLACK_S = 86_400.0
"""A time that exceeds a launcher's wait for an unavailable store or broker at its end."""

Spec = Callable[[JobSubmit, Member, int | None], MemberSpec]


class LocalRuntime:
    """Runs members below ``work_dir``.

    Args:
        work_dir: where members have their directories.
        spec: what the launcher of a member is given, whose program runs as that user; without it
            nothing can be started.
        users: who programs run as; None: as we are.
    """

    def __init__(
        self, work_dir: Path, spec: Spec | None = None, users: Users | None = None
    ) -> None:
        self._work_dir = work_dir
        self._spec = spec
        self._users = users
        directories.make_work_dir(work_dir)
        self._children: dict[str, int] = {}
        self._asked: dict[str, float] = {}
        self._swept: set[str] = set()

    def directory(self, job_id: str, member: Member) -> Path:
        """The directory of this incarnation."""
        return self._work_dir / job_id / member.name / str(member.incarnation)

    def checkpoints(self, job_id: str) -> Path:
        """The directory all members of a job share."""
        return self._work_dir / job_id / "checkpoints"

    def start(self, submit: JobSubmit, members: Sequence[Member]) -> None:
        """Start launchers; one ends at once should another one hold its incarnation."""
        if self._spec is None or not members:
            return
        uid = None if self._users is None else self._users.of(submit.job_id)
        try:
            directories.make_job(self._work_dir / submit.job_id, uid)
        except OSError as error:
            raise RuntimeUnavailable(f"no directory for {submit.job_id}: {error}") from error
        for member in members:
            self._start(self._spec(submit, member, uid))

    def _start(self, spec: MemberSpec) -> None:
        child = self._children.get(spec.key)
        directory = Path(spec.directory)
        if (child and _child_lives(child)) or (directory / LAUNCHER_FILE).exists():
            return
        try:
            write_end = self._spawn(spec.key, directory)
        except OSError as error:
            raise RuntimeUnavailable(f"cannot start {spec.key}: {error}") from error
        # A launcher that has died already is seen, and started again, next time.
        with suppress(BrokenPipeError), os.fdopen(write_end, "wb") as stdin:
            stdin.write(spec.model_dump_json().encode())

    def _spawn(self, key: str, directory: Path) -> int:
        """Start a launcher; returns where to write what it is to read."""
        directories.make_incarnation(directory)
        with (directory / "launcher.log").open("ab") as output:
            read_end, write_end = os.pipe()
            try:
                # Not subprocess: the launcher is meant to outlive us, whoever reaps it.
                self._children[key] = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-P", "-m", "services.task.launcher"],
                    _launcher_environment(),
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, read_end, 0),
                        (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                        (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
                    ],
                    setsid=True,
                )
            except OSError:
                os.close(write_end)
                raise
            finally:
                os.close(read_end)
        return write_end

    def changed(self) -> None:
        """Changes are not reported, so every pass examines all jobs."""

    def observe(self, job_ids: Collection[str] | None = None) -> list[Observed]:
        """The members that the directories name, checked against the running processes."""
        for key in [key for key, pid in self._children.items() if not _child_lives(pid)]:
            del self._children[key]
        found = []
        for job_id, member, directory in self._incarnations():
            launcher = launcher_of(directory)
            if launcher is None or (job_ids is not None and job_id not in job_ids):
                continue
            alive = processes.start_time(launcher.pid) == launcher.started
            found.append(Observed(job_id, member, alive, None if alive else end_of(directory)))
        self._sweep_dead(found)
        return found

    def stop(self, job_id: str, member: Member, grace_s: float) -> None:
        """SIGTERM once, SIGKILL when the grace is over."""
        key = member_key(job_id, member)
        launcher = launcher_of(self.directory(job_id, member))
        if launcher is None:
            return
        asked = self._asked.get(key)
        if asked is None:
            self._asked[key] = time.monotonic()
            processes.send(launcher.pid, launcher.started, signal.SIGTERM)
        elif time.monotonic() - asked > grace_s:
            log.warning("launcher_killed", member=key)
            processes.send(launcher.pid, launcher.started, signal.SIGKILL)

    def known(self) -> set[str]:
        return {job_id for job_id, _, _ in self._incarnations()}

    def pending(self, job_id: str) -> None:
        """Processes start at once, once the job is admitted."""

    def end(self, job_id: str, members: Sequence[Member], grace_s: float) -> None:
        for member in members:
            self.stop(job_id, member, grace_s)

    def remove(self, job_id: str) -> bool:
        """Delete the job's directories; what still carries its marks is ended first."""
        mine = [(m, d) for job, m, d in self._incarnations() if job == job_id]
        keys = [member_key(job_id, member) for member, _ in mine]
        for key in keys:
            self._asked.pop(key, None)
            self._swept.discard(key)
            child = self._children.get(key)
            if child and _child_lives(child):
                # Started, but not yet so far that it could be seen and asked to stop.
                os.kill(child, signal.SIGKILL)
        uid = None if self._users is None else self._users.known(job_id)
        if uid is not None and not processes.kill_user(uid):
            return False
        if uid is None and keys:
            processes.kill_marked(keys)
        if uid is not None and os.geteuid() == 0:
            leftovers.clear(uid)
        # The members' names are in the job's directory, so that goes last.
        try:
            for key in keys:
                trees.delete(directories.scratch(self._work_dir, key))
            trees.delete(self._work_dir / job_id)
        except OSError as error:
            log.warning("directories_not_deleted", job_id=job_id, error=str(error))
            return False
        if self._users is not None:
            self._users.release(job_id)
        return True

    def close(self) -> None:
        """Nothing is held."""

    def _sweep_dead(self, found: list[Observed]) -> None:
        """A killed launcher cannot clean up: end what its program left, once."""
        dead = [o for o in found if not o.alive and o.key not in self._swept]
        if not dead:
            return
        for each in dead:
            uid = directories.owner(self._work_dir / each.job_id)
            processes.kill_marked([each.key], uid)
            launcher = launcher_of(self.directory(each.job_id, each.member))
            cgroups.remove(Path(path) for path in (launcher.cgroups if launcher else ()))
            self._swept.add(each.key)

    def _incarnations(self) -> Iterator[tuple[str, Member, Path]]:
        for directory in self._work_dir.glob("*/*-*/*"):
            role, _, index = directory.parent.name.rpartition("-")
            if role in set(Role) and index.isdigit() and directory.name.isdigit():
                number = int(directory.name)
                member = Member(role=Role(role), index=int(index), incarnation=number)
                yield directory.parent.parent.name, member, directory


def specs(settings: TaskSettings) -> Spec:
    """The function that makes the specification of a member on this machine."""

    def spec(submit: JobSubmit, member: Member, uid: int | None) -> MemberSpec:
        base = settings.work_dir / submit.job_id
        # For the launcher's whole life: it outlives us, and what it is given it is given once.
        lifetime_s = submit.timeouts.start_s + submit.timeouts.run_s + _SLACK_S
        return MemberSpec(
            job=submit,
            member=member,
            primary=member.name == primary(submit),
            directory=str(base / member.name / str(member.incarnation)),
            checkpoints=str(base / "checkpoints"),
            scratch=str(directories.scratch(settings.work_dir, member_key(submit.job_id, member))),
            uid=uid,
            host=settings.member_host,
            port=_port_before(base / member.name, member) if submit.elastic else 0,
            node=host_name(),
            program_grace_s=settings.program_grace_s,
            credentials=Credentials(
                broker_url=settings.member_broker_url_of(submit.job_id, lifetime_s),
                s3_url=settings.s3_url,
                s3_access_key=settings.s3_access_key,
                s3_secret_key=settings.s3_secret_key.get_secret_value(),
                bucket=settings.s3_bucket,
            ),
        )

    return spec


def _port_before(incarnations: Path, member: Member) -> int:
    """The port that the newest incarnation before this one held; 0 if none is known."""
    for number in range(member.incarnation - 1, 0, -1):
        launcher = launcher_of(incarnations / str(number))
        if launcher is not None and launcher.port:
            return launcher.port
    return 0


def occupied(work_dir: Path) -> set[int]:
    """Users of jobs whose directories are there, and of processes."""
    found = processes.users()
    for entry in work_dir.iterdir():
        with suppress(FileNotFoundError):
            found.add(entry.lstat().st_gid)
    return found


def sweep(work_dir: Path, grace_s: float = 10.0) -> int:
    """Stop every member below ``work_dir``, whoever started it; returns how many lived."""
    runtime = LocalRuntime(work_dir)
    first = [o for o in runtime.observe() if o.alive]
    deadline = time.monotonic() + grace_s + 5
    while time.monotonic() < deadline:
        alive = [o for o in runtime.observe() if o.alive]
        if not alive:
            break
        for each in alive:
            runtime.stop(each.job_id, each.member, grace_s)
        time.sleep(0.1)
    return len(first)


def _child_lives(pid: int) -> bool:
    """Return whether a child still runs; one that has ended is reaped."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _launcher_environment() -> dict[str, str]:
    """An environment without our settings, and so without credentials: those go over stdin."""
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "LANG", "LC_ALL", "TZ", "HOME")}
    return kept | {"PYTHONPATH": str(_CODE), "PYTHONUNBUFFERED": "1"}
