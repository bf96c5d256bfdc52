"""Runs one member from its first to its last message."""

from __future__ import annotations

import os
import signal
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

import structlog

from services.task.launcher import artifacts, environment, package
from services.task.launcher.directory import DirectoryWatch, locked
from services.task.launcher.ground import Ground, Order, RunningProgram
from services.task.launcher.logs import LogPump
from services.task.launcher.machine import Machine
from services.task.launcher.membership import Membership
from services.task.launcher.meter import Meter
from services.task.launcher.ports import HeldPort
from services.task.launcher.program import protect_this_process
from services.task.launcher.results import LeftOut
from services.task.spec import EXIT_FILE, LAUNCHER_FILE, MemberSpec
from shared.changes import changed
from shared.contracts import (
    ClusterSpecReady,
    Isolation,
    LogAppended,
    Message,
    PodExited,
    PodStarted,
)
from shared.observe import configure_logging
from shared.storage import MemberStore, S3Store, StorageError

log = structlog.get_logger(__name__)

_PATIENCE_S = 3600.0
"""The time for which a broker or store may be away before results are given up."""


@dataclass(frozen=True)
class Fenced:
    """The end of a launcher whose incarnation was replaced."""

    reason: str


@dataclass(frozen=True)
class Terminated:
    """The launcher was asked to end."""


@dataclass(frozen=True)
class Ended:
    """A run of the program has ended."""

    program: RunningProgram


News = ClusterSpecReady | Fenced | Terminated | Ended


def main() -> int:
    """Read the spec from standard input, run the member, return the exit code."""
    protect_this_process()
    configure_logging()
    text = sys.stdin.buffer.read()
    if not text:
        return 2
    spec = MemberSpec.model_validate_json(text)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    directory = Path(spec.directory)
    # Held until we end: nobody else can run this incarnation.
    lock = (directory / "lock").open("w")
    if not locked(lock.fileno()) or (directory / LAUNCHER_FILE).exists():
        log.info("incarnation_taken", member=spec.key)
        return 0
    store = S3Store(
        spec.credentials.s3_url, spec.credentials.s3_access_key, spec.credentials.s3_secret_key
    )
    launcher = Launcher(spec, store, Machine(spec, store))
    DirectoryWatch(directory, launcher.abandon).start()
    launcher.run()
    return 0


class Launcher:
    """Runs one member; all events arrive in the main thread through one queue."""

    def __init__(self, spec: MemberSpec, store: MemberStore, ground: Ground) -> None:
        self._spec, self._store, self._ground = spec, store, ground
        self._directory = Path(spec.directory)
        self._news: SimpleQueue[News] = SimpleQueue()
        signal.signal(signal.SIGTERM, lambda *_: self.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._membership = Membership(
            spec,
            ground.broker_url,
            self._news.put,
            lambda reason: self._news.put(Fenced(reason)),
        )
        self._logs = LogPump(self._directory / "spool", self._ship)
        self._program: RunningProgram | None = None
        self._meter = Meter(spec, lambda: self._program, self._membership.tell)

    def terminate(self) -> None:
        """End the program, store its results and report; safe in signal handlers."""
        self._news.put(Terminated())

    def abandon(self, leave: Callable[[int], object] = os._exit) -> None:
        """End the program and this process at once; there is nowhere to store or report from."""
        try:
            if self._program is not None:
                self._program.kill()
            self._ground.close(None)
        finally:
            leave(1)

    def run(self) -> None:
        """The whole life; returns when the end is published and confirmed."""
        port = HeldPort(self._spec.port)
        self._ground.record(port.number)
        places: environment.Places | None = None
        try:
            places, main_program = self._ground.prepare()
        except package.Unusable as unusable:
            self._membership.start(port.number)
            end: PodExited | None = self._unusable(unusable)
        else:
            self._membership.start(port.number)
            self._meter.start()
            end = self._watch(places, main_program)
        self._meter.stop()
        if end is not None:
            self._tell_end(end, places)
        self._membership.stop()
        self._ground.close(end)
        port.release()

    def _watch(self, places: environment.Places, main_program: Path) -> PodExited | None:
        """Wait for the end of program or membership; None if nothing more may be published."""
        if self._spec.job.type == "single":
            self._start(places, main_program, None)
        while True:
            news = self._news.get()
            if isinstance(news, ClusterSpecReady):
                if self._program is not None:
                    # No TensorFlow lets running members learn a new address: all of them begin
                    # again from their checkpoint, in the same container, at the same port.
                    self._logs.say(f"membership changed to epoch {news.epoch}; starting again")
                    old, self._program = self._program, None
                    old.stop(self._spec.program_grace_s)
                try:
                    self._start(places, main_program, news)
                except package.Unusable as unusable:
                    return self._unusable(unusable)
            elif isinstance(news, Ended):
                if news.program is self._program:
                    news.program.kill()
                    return self._exit(
                        news.program.exit_code,
                        oom=news.program.oom,
                        fault=news.program.fault,
                        witnessed=news.program.witnessed,
                    )
            elif isinstance(news, Fenced):
                log.info("launcher_fenced", member=self._spec.key, reason=news.reason)
                self._end_program(0.0)
                return None
            else:
                self._end_program(self._spec.program_grace_s)
                return self._exit(
                    -signal.SIGTERM,
                    fault="stopped by the platform",
                    infrastructure=True,
                    witnessed=self._ground.sees_all,
                )

    def _unusable(self, unusable: package.Unusable) -> PodExited:
        return self._exit(1, fault=unusable.reason, infrastructure=unusable.infrastructure)

    def _end_program(self, grace_s: float) -> None:
        if self._program is not None:
            self._program.stop(grace_s)

    def _start(
        self, places: environment.Places, main_program: Path, cluster: ClusterSpecReady | None
    ) -> None:
        spec = self._spec
        order = Order(
            argv=[str(main_program), *environment.arguments(spec, cluster)],
            env=environment.environment(spec, places, cluster),
            cwd=places.code,
        )
        self._program = self._ground.start(
            order, self._logs.write_end, lambda p: self._news.put(Ended(p))
        )
        self._membership.tell(
            PodStarted(
                job_id=spec.job.job_id,
                member=spec.member,
                epoch=cluster.epoch if cluster else 0,
                isolation=Isolation(notes=tuple(self._ground.notes)),
                pod=spec.pod,
                node=spec.node,
                at=datetime.now(UTC),
            )
        )

    def _tell_end(self, end: PodExited, places: environment.Places | None) -> None:
        """Store everything before reporting the end, so that readers find it."""
        changes: dict[str, object] = {}
        fault = ""
        try:
            if places is not None:
                self._save_checkpoints()
                owner = self._ground.owner
                done = artifacts.upload(self._store, self._spec, places, owner, _PATIENCE_S)
                changes = {"artifacts": tuple(done), "stored": done.stored}
                self._say_left_out(done.left_out)
        except (StorageError, OSError) as error:
            # OSError: of a full disk, most of all.
            fault = f"what the program left could not be stored: {error}"
        if not self._logs.close(_PATIENCE_S):
            fault = fault or "part of the log could not be stored"
        changes["last_lines"] = self._logs.last_lines
        if fault and not end.fault:
            changes |= {"fault": fault, "infrastructure": True}
        end = changed(end, **changes)
        self._note_end(end)
        self._membership.tell(end)
        self._membership.flush(_PATIENCE_S)

    def _save_checkpoints(self) -> None:
        """Store the newest checkpoints; without them the program's results still count."""
        try:
            self._ground.save(_PATIENCE_S)
        except (StorageError, OSError, tarfile.TarError) as error:
            self._logs.say(f"the newest checkpoints could not be stored: {error}")

    def _note_end(self, end: PodExited) -> None:
        """Write the end to a file for the runtime, in case the message is lost."""
        temporary = self._directory / "exit.tmp"
        try:
            temporary.write_text(end.model_dump_json())
            temporary.rename(self._directory / EXIT_FILE)
        except OSError as error:
            log.warning("end_not_noted", error=str(error))

    def _say_left_out(self, left_out: LeftOut) -> None:
        """Log every file of the program that was not stored."""
        for reason in left_out.reasons:
            self._logs.say(f"not stored: {reason}")
        if more := left_out.number - len(left_out.reasons):
            self._logs.say(f"not stored: {more} more")

    def _exit(
        self,
        code: int,
        *,
        oom: bool = False,
        fault: str = "",
        infrastructure: bool = False,
        witnessed: bool = True,
    ) -> PodExited:
        return PodExited(
            job_id=self._spec.job.job_id,
            member=self._spec.member,
            exit_code=code,
            oom=oom,
            fault=fault,
            infrastructure=infrastructure,
            witnessed=witnessed,
            at=datetime.now(UTC),
        )

    def _ship(self, number: int, text: str) -> None:
        spec, member = self._spec, self._spec.member
        where = f"jobs/{spec.job.job_id}/logs/{member.name}/{member.incarnation}"
        key = f"{where}/{number:08d}.log"
        self._store.put(
            spec.credentials.bucket, key, text.encode(), content_type="text/plain; charset=utf-8"
        )
        message: Message = LogAppended(
            job_id=spec.job.job_id,
            member=member,
            chunk=number,
            key=key,
            text=text,
            at=datetime.now(UTC),
        )
        self._membership.tell(message)
