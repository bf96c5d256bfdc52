"""Empties caches of package managers and container engines, which are refilled when needed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.healer.remediations import rotation
from services.healer.remediations.base import Step, StepFailed, remediation
from services.healer.remediations.clean_logs import lies_below, plain
from services.healer.remediations.confined import ChangedError, File, each_root, opened
from services.healer.remediations.restart_service import run
from services.healer.remediations.stepwise import Stepwise
from shared.contracts import SeriesRef

_ENGINES = {
    "docker": ("docker", "image", "prune", "--force"),
    "podman": ("podman", "image", "prune", "--force"),
    "crictl": ("crictl", "rmi", "--prune"),
    "journald": ("journalctl", "--vacuum-size=500M"),
}
_PATTERNS = {
    "apt": ("*.deb",),
    "dnf": ("*.rpm",),
    "pip": ("*",),
    "npm": ("*",),
    "go": ("*",),
    "other": ("*",),
}


class Cache(BaseModel):
    """One directory of a package manager's cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["apt", "dnf", "pip", "npm", "go", "other"] = Field(
        description="The kind of cache, which decides which files below the directory belong to it."
    )
    root: Path = Field(
        description="The absolute path of the directory, without symbolic links in it."
    )

    _is_plain = field_validator("root")(plain)


Seen = list[tuple[Cache, File]]


@remediation("clean-caches")
class CleanCaches(Stepwise[Seen]):
    """Deletes the files of allow-listed cache directories, biggest first, and lets allow-listed
    container engines prune what no container uses.
    """

    HELPS: ClassVar[str] = (
        "any series with a label `mount`, on or above an allow-listed root or of the engines' mount"
    )
    RISKS: ClassVar[tuple[str, ...]] = (
        "The next installation, build or pod start downloads again, and fails where it cannot.",
        "An image that no container uses now may be needed offline later.",
        "How much an engine frees is known only afterwards; its step shows no size.",
    )

    caches: tuple[Cache, ...] = Field(
        default=(), description="The directories that may be cleaned, and how."
    )
    engines: tuple[Literal["docker", "podman", "crictl", "journald"], ...] = Field(
        default=(), description="The container engines whose unused images may be removed."
    )
    engines_on: str = Field(
        default="/",
        description="The mount point of the file system that holds the engines' images.",
    )
    max_files: int = Field(default=10_000, gt=0, description="The most files that one run deletes.")

    def applies(self, series: SeriesRef) -> str:
        mount = series.labels.get("mount", "")
        if self._fitting(mount) or (self.engines and mount == self.engines_on):
            return ""
        return f"no allow-listed cache is on {mount or 'no mount'!r}"

    def look(self, series: SeriesRef) -> Seen:
        mount = series.labels.get("mount", "")
        # A manager that has cached nothing yet has no directory.
        fitting = [cache for cache in self._fitting(mount) if os.path.lexists(cache.root)]
        return each_root(fitting, lambda cache: cache.root, lambda cache: _files(cache, mount))

    def plan(self, series: SeriesRef, seen: Seen) -> tuple[list[Step], str]:
        fitting = [(c, f) for c, f in seen if rotation.matches(f.name, _PATTERNS[c.kind])]
        steps = []
        for cache, file in sorted(fitting, key=lambda found: (-found[1].size, found[1].parts)):
            path = str(cache.root.joinpath(*file.parts))
            size = file.size if file.links == 1 else 0
            steps.append(
                Step("delete", path, size, file.identity, command=f"rm -- {shlex.quote(path)}")
            )
        steps = steps[: self.max_files]
        if series.labels.get("mount", "") == self.engines_on:
            steps += [
                Step("prune", name, identity=f"engine {name}", command=shlex.join(_ENGINES[name]))
                for name in self.engines
            ]
        return steps, "" if steps else "the caches are empty"

    def perform(self, step: Step) -> None:
        if step.action == "prune":
            if step.target not in self.engines:
                raise StepFailed(f"{step.target} is no longer allow-listed")
            run(list(_ENGINES[step.target]), 300)
            return
        path = Path(step.target)
        cache = next((c for c in self.caches if path.is_relative_to(c.root)), None)
        if cache is None:
            raise StepFailed("its directory is no longer allow-listed")
        parts = path.relative_to(cache.root).parts
        try:
            with opened(cache.root) as root, root.directory(parts[:-1]) as directory:
                status = os.stat(parts[-1], dir_fd=directory, follow_symlinks=False)
                if f"{status.st_dev}:{status.st_ino}" != step.identity:
                    raise StepFailed("it changed since it was found")
                os.unlink(parts[-1], dir_fd=directory)
        except FileNotFoundError:
            return  # the manager itself was quicker
        except ChangedError as error:
            raise StepFailed(str(error)) from error

    def happened(self, step: Step) -> bool:
        if step.action == "prune":
            return False  # pruning again does no harm
        try:
            status = os.lstat(step.target)
        except OSError:
            return True
        return f"{status.st_dev}:{status.st_ino}" != step.identity

    def _fitting(self, mount: str) -> list[Cache]:
        return [cache for cache in self.caches if lies_below(cache.root, mount)]


def _files(cache: Cache, mount: str) -> Seen:
    with opened(cache.root) as root:
        if Path(mount).lstat().st_dev != root.device:
            return []
        return [(cache, file) for files in root.files() for file in files]
