"""File systems, and directories watched like file systems."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from services.healer.agent.samplers.base import Reading, Sampler, share
from services.healer.agent.settings import Volume

_BYTES, _INODES = "df.bytes.used.percent", "df.inodes.used.percent"


class FileSystems(Sampler):
    """Every mounted file system that lies on a device, once, as ``df`` counts it."""

    items = (_BYTES, _INODES)

    def sample(self) -> list[Reading]:
        readings = []
        for mount in _mounts():
            try:
                status = os.statvfs(mount)
            except OSError:
                continue  # unmounted meanwhile, or not ours to see
            used = status.f_blocks - status.f_bfree
            labels = {"mount": mount}
            readings.append(Reading(_BYTES, share(used, used + status.f_bavail), labels))
            if status.f_files:  # some file systems make inodes as they need them
                inodes = share(status.f_files - status.f_ffree, status.f_files)
                readings.append(Reading(_INODES, inodes, labels))
        return readings


def _mounts() -> list[str]:
    """A mount point a file system: the shortest, since the others are binds of it."""
    points: dict[int, str] = {}
    # In a container the root is an overlay, which counts as no device.
    for mount in ["/", *(partition.mountpoint for partition in psutil.disk_partitions())]:
        try:
            status = Path(mount).stat()
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            points[status.st_dev] = min(points.get(status.st_dev, mount), mount, key=len)
    return sorted(points.values())


class Volumes(Sampler):
    """Watched directories: bytes of the regular files below against their capacity."""

    items = (_BYTES,)

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self._volumes = volumes

    def sample(self) -> list[Reading]:
        return [
            Reading(_BYTES, share(used_bytes(v.path), v.capacity_bytes), {"mount": str(v.path)})
            for v in self._volumes
            if v.path.is_dir()
        ]


def used_bytes(directory: Path) -> int:
    """Bytes of all regular files below; links are not followed, hard links count once."""
    counted: set[tuple[int, int]] = set()
    total = 0
    for status in _regular_files(directory):
        if status.st_nlink > 1:
            if (status.st_dev, status.st_ino) in counted:
                continue
            counted.add((status.st_dev, status.st_ino))
        total += status.st_size
    return total


def _regular_files(directory: Path) -> Iterator[os.stat_result]:
    waiting = [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue  # removed while we looked, or not ours to read
