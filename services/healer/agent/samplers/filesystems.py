"""File systems, and directories watched like file systems."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.healer.agent.samplers.base import Reading, Sampler, share
from services.healer.agent.settings import Volume

_BYTES, _INODES = "df.bytes.used.percent", "df.inodes.used.percent"
_MOUNTS, _TYPES = Path("/proc/self/mountinfo"), Path("/proc/filesystems")
_ESCAPED = re.compile(r"\\([0-7]{3})")
_IN_MEMORY = "tmpfs"
_IMAGES = {"squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"}
_GIVEN = (
    "/proc/",
    "/run/containerd/",
    "/run/credentials/",
    "/run/docker/",
    "/run/user/",
    "/sys/",
    "/var/lib/containers/",
    "/var/lib/docker/",
    "/var/lib/kubelet/",
)
"""Below these, file systems in memory hold a few secrets or settings each."""


class FileSystems(Sampler):
    """Every file system that can fill up, once, as ``df`` counts it."""

    items = (_BYTES, _INODES)

    def sample(self) -> list[Reading]:
        readings = []
        for mount in sorted(_directories()):
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


def _directories() -> Iterator[str]:
    for mount in mount_points(
        _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape"),
        _TYPES.read_text(encoding="ascii"),
    ):
        try:
            if stat.S_ISDIR(Path(mount).stat().st_mode) and mount.isprintable():
                yield mount
        except OSError:
            continue


def mount_points(mounts: str, types: str) -> list[str]:
    """A mount point for each file system that can fill up: the shortest of them.

    That is the root, whatever it is; file systems on devices; and those in memory, but for the
    many small ones that containers and services are given. An image that can only be read is
    always full, and no fault. Mounts are the same file system by its superblock's device: binds
    are, and so are the subvolumes of a btrfs, although files there have other device numbers.

    Args:
        mounts: ``/proc/self/mountinfo``.
        types: ``/proc/filesystems``.
    """
    on_devices = {line.strip() for line in types.splitlines() if not line.startswith("nodev")}
    watched = (on_devices | {"zfs", _IN_MEMORY}) - _IMAGES
    seen: dict[str, tuple[str, str, str]] = {}
    for line in mounts.splitlines():
        place, _, source = line.partition(" - ")
        _, _, device, _, mount, *_ = place.split(" ")
        kind, _, options = source.split(" ", 2)
        # A file system that is mounted over another one hides it.
        seen[_ESCAPED.sub(lambda m: chr(int(m[1], 8)), mount)] = (device, kind, options)
    points: dict[str, str] = {}
    for mount, (device, kind, options) in seen.items():
        given = kind == _IN_MEMORY and mount.startswith(_GIVEN)
        read_only = "ro" in options.split(",")
        if (mount == "/" or kind in watched) and not (given or read_only or kind in _IMAGES):
            points[device] = min(points.get(device, mount), mount, key=len)
    return list(points.values())


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
