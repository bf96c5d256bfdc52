"""What a node's containers leave on the machine: cgroups, and mounts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.waiting import eventually

_CGROUPS = Path("/sys/fs/cgroup")


def make_group(name: str) -> None:
    """An empty cgroup in every hierarchy, with the machine's processors and memory."""
    kill_group(name)
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _hierarchies() -> list[Path]:
    """Roots of the machine's cgroups: one for each controller (v1), or one for all (v2)."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return sorted(path for path in _CGROUPS.iterdir() if path.is_dir() and os.path.ismount(path))


def kill_group(name: str) -> None:
    """Remove a cgroup of a run before or of this one; what still runs in it is killed."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        if not group.exists():
            continue
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                _remove_group(path)
        _remove_group(group)


def _remove_group(group: Path) -> None:
    def gone() -> bool:
        for pid in (group / "cgroup.procs").read_text().split():
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                continue  # it has ended by itself
        try:
            group.rmdir()
        except OSError:
            return False
        return True

    eventually(gone, f"the end of the processes in {group}", timeout_s=30)


def unmount_under(directory: Path) -> None:
    """Unmount what containers had mounted, deepest first, so that the directory can be removed."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((p for p in mounted if Path(p).is_relative_to(directory)), reverse=True):
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
