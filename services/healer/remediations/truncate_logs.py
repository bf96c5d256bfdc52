"""Empties logs that a program holds open and never rotates, where that is safe."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.healer.remediations import rotation
from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.clean_logs import CleanRoot, lies_below
from services.healer.remediations.confined import ChangedError, File, each_root, opened
from services.healer.remediations.open_files import Writers
from services.healer.remediations.stepwise import NotApplicable, Stepwise
from shared.contracts import SeriesRef


@dataclass(frozen=True)
class Held:
    """A large log and how processes have it open."""

    root: Path
    file: File
    writers: int
    appending: bool
    """True if every writer appends: then it continues at the new end after a truncation."""


@remediation("truncate-logs")
class TruncateLogs(Stepwise[list[Held]]):
    """Truncates allow-listed logs while their programs keep writing, largest first.

    Deleting such a file frees nothing until the program ends. It is truncated only if every
    process that writes it has opened it for appending: another one would go on at its old
    position and make the file as long as before, with a hole. A file with a second name is left
    alone: that name may lie outside of the allow-listed directory, where nothing may be emptied.
    """

    HELPS: ClassVar[str] = "any series with a label `mount`, on or above an allow-listed root"
    RISKS: ClassVar[tuple[str, ...]] = (
        "The log's contents are lost: ship logs that must be kept.",
        "A reader that remembers its position (a log shipper) must notice that the file shrank.",
        "Files of processes that cannot be looked into (that needs root) are left alone.",
    )

    roots: tuple[CleanRoot, ...] = Field(
        default=(),
        description="The directories and patterns of the logs that may be emptied; a file's age "
        "does not matter.",
    )
    min_bytes: int = Field(default=100_000_000, gt=0, description="A smaller log is left alone.")

    def applies(self, series: SeriesRef) -> str:
        mount = series.labels.get("mount", "")
        if any(lies_below(root.root, mount) for root in self.roots):
            return ""
        return f"no allow-listed directory is on {mount or 'no mount'!r}"

    def look(self, series: SeriesRef) -> list[Held]:
        writers = Writers()
        if writers.unseen:
            raise NotApplicable(
                f"{writers.unseen} processes could not be looked into (that needs root): who "
                "writes the logs is not known"
            )
        mount = series.labels.get("mount", "")
        fitting = [root for root in self.roots if lies_below(root.root, mount)]
        return each_root(
            fitting, lambda allowed: allowed.root, lambda root: self._held(root, mount, writers)
        )

    def _held(self, allowed: CleanRoot, mount: str, writers: Writers) -> Iterator[Held]:
        with opened(allowed.root) as root:
            if Path(mount).lstat().st_dev != root.device:
                return
            for files in root.files():
                for file in files:
                    how = writers.of(file.device, file.inode)
                    big = file.size >= self.min_bytes
                    if how and big and rotation.matches(file.name, allowed.patterns):
                        yield Held(allowed.root, file, len(how), all(how))

    def plan(self, series: SeriesRef, seen: list[Held]) -> tuple[list[Step], str]:
        steps = []
        for held in sorted(seen, key=lambda h: -h.file.size):
            path = str(held.root.joinpath(*held.file.parts))
            if held.appending and held.file.links == 1:
                steps.append(
                    Step(
                        "truncate",
                        path,
                        held.file.size,
                        held.file.identity,
                        f"{held.file.size} bytes -> 0",
                        f"truncate -s 0 -- {shlex.quote(path)}",
                    )
                )
        linked = sum(held.file.links != 1 for held in seen)
        unsafe = len(seen) - len(steps) - linked
        notes = [f"{unsafe} files spared: a writer does not append"] if unsafe else []
        notes += [f"{linked} files spared: they have another name"] if linked else []
        return steps, "; ".join(notes if steps else ["nothing to truncate", *notes])

    def perform(self, step: Step) -> None:
        root, parts = self._place(step)
        try:
            with opened(root) as confined, confined.directory(parts[:-1]) as directory:
                self._truncate(directory, parts[-1], step)
        except ChangedError as error:
            raise StepFailed(str(error)) from error

    @staticmethod
    def _truncate(directory: int, name: str, step: Step) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            same = f"{status.st_dev}:{status.st_ino}" == step.identity
            if not same or not stat.S_ISREG(status.st_mode):
                raise StepFailed("it changed since it was found")
            if status.st_nlink != 1:
                raise StepFailed("it has another name")
            if not all(Writers().of(status.st_dev, status.st_ino)):
                raise StepFailed("a writer does not append")
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def happened(self, step: Step) -> bool:
        try:
            status = os.lstat(step.target)
        except OSError:
            return True
        return f"{status.st_dev}:{status.st_ino}" != step.identity or (
            status.st_size < step.freed_bytes
        )

    def _place(self, step: Step) -> tuple[Path, tuple[str, ...]]:
        path = Path(step.target)
        for allowed in self.roots:
            if path.is_relative_to(allowed.root):
                return allowed.root, path.relative_to(allowed.root).parts
        raise StepFailed("its directory is no longer allow-listed")
