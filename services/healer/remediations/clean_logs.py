"""Deletes finished logs below allow-listed directories: packed, rotated and dated ones."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.healer.remediations import rotation
from services.healer.remediations.base import (
    Journal,
    Outcome,
    Remediation,
    Step,
    Stopped,
    remediation,
)
from services.healer.remediations.confined import ChangedError, Confined, File, opened
from services.healer.remediations.open_files import HeldError, OpenFiles, alone_with
from shared.contracts import SeriesRef
from shared.contracts.remediation import RemediationStep

_DELETE = "delete"


def plain(value: Path) -> Path:
    """The path, if it can be an allow-listed directory; ValueError otherwise."""
    path = PurePosixPath(value)
    if not path.is_absolute() or not path.name or ".." in path.parts:
        raise ValueError("must be an absolute directory other than / and without '..'")
    return value


class CleanRoot(BaseModel):
    """An entry of the allow-list: a directory, and which files below it may be deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Field(
        description="The absolute path of the directory, without symbolic links in it."
    )
    patterns: tuple[str, ...] = Field(
        default=rotation.PATTERNS,
        min_length=1,
        description="Shell patterns of the names of files that may be deleted.",
    )
    min_age_s: float = Field(
        default=86_400,
        ge=0,
        description="A file may be deleted once it has not been written to for this time.",
    )
    max_bytes_per_run: int | None = Field(
        default=None, gt=0, description="The most bytes that one run deletes; null: unlimited."
    )
    max_files_per_run: int = Field(
        default=10_000, gt=0, description="The most files that one run deletes."
    )

    unused_patterns: tuple[str, ...] = Field(
        default=(),
        description="Shell patterns of names that do not say that a file is a log; such a file is "
        "deleted only when no process has it open and it was not written for "
        "unused_age_s.",
    )
    unused_age_s: float = Field(
        default=604_800,
        gt=0,
        description="A file of unused_patterns counts as unused once it has not been written to "
        "for this time.",
    )

    _is_plain = field_validator("root")(plain)

    @field_validator("patterns", "unused_patterns")
    @classmethod
    def _says_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if "/" in pattern or not pattern.strip("*?"):
                raise ValueError(f"{pattern!r} must be a pattern of file names, and not fit all")
        return value


@remediation("clean-logs")
class CleanLogs(Remediation):
    """Deletes finished logs, oldest first, on the file system or volume that is full.

    Nothing is deleted but regular files below an allow-listed root that is on or below the
    series' mount, whose name fits a pattern, which are old enough, which nobody has open, and
    which are not the active file of their log.
    """

    roots: tuple[CleanRoot, ...] = Field(
        default=(), description="The directories in which it may act on this machine."
    )

    HELPS: ClassVar[str] = "any series with a label `mount`, on or above an allow-listed root"
    RISKS: ClassVar[tuple[str, ...]] = (
        (
            "What is deleted is gone: choose roots and patterns so that nothing below them is "
            "needed longer than min_age_s, and ship logs that must be kept before that."
        ),
        "A program that reopens a rotated log by its name finds it missing.",
        (
            "A file opened in another PID namespace is only detected where the file system "
            "grants leases (ext4, xfs, overlay do; NFS does not)."
        ),
    )

    def run(
        self,
        series: SeriesRef,
        *,
        dry_run: bool,
        journal: Journal,
        only: Collection[str] | None = None,
    ) -> Outcome:
        mount = series.labels.get("mount", "")
        fitting = [root for root in self.roots if lies_below(root.root, mount)]
        if not fitting:
            return Outcome(False, (), f"no allow-listed directory is on {mount or 'no mount'!r}")
        run = _Run(OpenFiles(), None if dry_run else journal, only)
        try:
            return self._over(fitting, mount, run)
        except Stopped as stopped:
            detail = f"stopped after {len(run.steps)} steps: by {stopped}"
            return Outcome(False, tuple(run.steps), "; ".join(filter(None, (detail, run.detail()))))

    @staticmethod
    def _over(fitting: list[CleanRoot], mount: str, run: _Run) -> Outcome:
        reached = [root for root in fitting if run.clean(root, mount)]
        failed = [step for step in run.steps if step.error]
        succeeded = bool(reached) and (not failed or len(failed) < len(run.steps))
        return Outcome(succeeded, tuple(run.steps), run.detail())

    def happened(self, step: Step) -> bool:
        try:
            status = os.lstat(step.target)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return f"{status.st_dev}:{status.st_ino}" != step.identity


class _Run:
    """One run over all matching roots; without a journal it is a dry run."""

    def __init__(
        self, open_files: OpenFiles, journal: Journal | None, only: Collection[str] | None
    ) -> None:
        self._open = open_files
        self._journal = journal
        self._only = only
        self._spared: Counter[str] = Counter()
        self._notes: list[str] = []
        self.steps: list[RemediationStep] = []

    def clean(self, allowed: CleanRoot, mount: str) -> bool:
        """Clean one root; False when it could not be tried, with a note why."""
        try:
            with opened(allowed.root) as root:
                if Path(mount).lstat().st_dev != root.device:
                    self._notes.append(f"{allowed.root} is on another file system than {mount}")
                    return False
                self._clean_opened(root, allowed)
                if root.unread:
                    self._notes.append(f"{root.unread} directories could not be read")
        except OSError as error:
            self._notes.append(f"{allowed.root}: {error.strerror or error}")
            return False
        return True

    def detail(self) -> str:
        """The files that were spared or could not be judged, for people."""
        notes = [f"{count} files spared: {why}" for why, count in sorted(self._spared.items())]
        if self._open.unseen:
            notes.append(
                f"{self._open.unseen} processes could not be looked into (that needs root); what "
                "they hold open is known only where the file system grants leases"
            )
        if not self.steps:
            notes.insert(0, "nothing to delete")
        return "; ".join(notes + self._notes)

    def _clean_opened(self, root: Confined, allowed: CleanRoot) -> None:
        left = allowed.max_bytes_per_run
        candidates = sorted(self._candidates(root, allowed))
        for file in islice(candidates, allowed.max_files_per_run):
            if left is not None and file.size > left:
                self._notes.append(f"stopped at max_bytes_per_run below {allowed.root}")
                return
            step = self._delete(root, file, str(allowed.root.joinpath(*file.parts)))
            if step is not None:
                self.steps.append(step)
                left = None if left is None else left - step.freed_bytes
        if len(candidates) > allowed.max_files_per_run:
            self._notes.append(f"stopped at max_files_per_run below {allowed.root}")

    def _candidates(self, root: Confined, allowed: CleanRoot) -> Iterator[File]:
        now = time.time_ns()
        youngest, unused = (now - int(s * 1e9) for s in (allowed.min_age_s, allowed.unused_age_s))
        for files in root.files():
            active = rotation.active((file.name, file.modified_ns) for file in files)
            for file in files:
                if not rotation.matches(file.name, allowed.patterns):
                    if rotation.matches(file.name, allowed.unused_patterns):
                        yield from self._unused(file, unused)
                    continue
                if file.modified_ns > youngest:
                    self._spared["too young"] += 1
                elif file.name in active:
                    self._spared["the active file of its log"] += 1
                elif self._open.holds(file.device, file.inode):
                    self._spared["open"] += 1
                elif self._only is not None and file.identity not in self._only:
                    self._spared["not part of what was approved"] += 1
                else:
                    yield file

    def _unused(self, file: File, unused: int) -> Iterator[File]:
        """The file, if all evidence says that no program uses it any more."""
        if file.modified_ns > unused:
            self._spared["too young"] += 1
        elif self._open.holds(file.device, file.inode):
            self._spared["open"] += 1
        elif self._open.unseen:
            self._spared["whether it is open is not known"] += 1
        elif self._only is not None and file.identity not in self._only:
            self._spared["not part of what was approved"] += 1
        else:
            yield file

    def _delete(self, root: Confined, file: File, target: str) -> RemediationStep | None:
        """The step done (in a dry run: that would be); None when the file is spared after all."""
        # Deleting one of several names frees nothing.
        freed = file.size if file.links == 1 else 0
        step = Step(_DELETE, target, freed, file.identity, command=f"rm -- {shlex.quote(target)}")
        if self._journal is None:
            return step.reported()
        if self._open.holds(file.device, file.inode):
            self._spared["open"] += 1
            return None
        try:
            with root.directory(file.parts[:-1]) as directory:
                self._unlink(directory, file, step, self._journal)
        except HeldError:
            self._spared["open"] += 1
            return None
        except (OSError, ChangedError) as error:
            why = getattr(error, "strerror", None) or str(error)
            self._journal.failed(step, why)
            return step.reported(why)
        return step.reported()

    @staticmethod
    def _unlink(directory: int, file: File, step: Step, journal: Journal) -> None:
        with alone_with(directory, file.name) as descriptor:
            now = os.stat(file.name, dir_fd=directory, follow_symlinks=False)
            if not file.is_still(now) or not file.is_still(os.fstat(descriptor)):
                raise ChangedError("it changed since it was found")
            journal.intend(step)
            os.unlink(file.name, dir_fd=directory)
        journal.done(step)


def lies_below(root: Path, mount: str) -> bool:
    return bool(mount) and PurePosixPath(root).is_relative_to(PurePosixPath(mount))
