"""File systems, and directories watched like file systems."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.healer.agent.mounts import stopped, table, unescaped
from services.healer.agent.samplers.base import Reading, Sampler, share
from services.healer.agent.settings import Volume
from shared.visible import visible

_BYTES, _INODES = "df.bytes.used.percent", "df.inodes.used.percent"
_READ_ONLY = "fs.readonly"
_TYPES = Path("/proc/filesystems")
_IN_ONE_LINE = str.maketrans("\n\t", "  ")
_IN_MEMORY, _ZFS = "tmpfs", "zfs"
_ALL_OF_IT = 0.99
"""The share of its pool's free space that a dataset without a quota shows at least: datasets are
read one after the other, while others write."""
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
"""Directories below which file systems in memory hold only a few secrets or settings each."""


@dataclass(frozen=True)
class Room:
    """The size and use of a mount point, in bytes."""

    mount: str
    used: int
    free: int


class FileSystems(Sampler):
    """Every file system that can fill up, once, as ``df`` counts it; of ZFS, every pool."""

    items = (_BYTES, _INODES, _READ_ONLY)

    def sample(self) -> list[Reading]:
        readings = []
        pools: dict[str, list[Room]] = {}
        mounts = table()
        ended = stopped(mounts)
        for mount, pool in sorted(_directories(mounts).items()):
            readings.append(Reading(_READ_ONLY, float(mount in ended), _labels(mount)))
            try:
                status = os.statvfs(mount)
            except OSError:
                continue  # unmounted meanwhile, or not ours to see
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            room = Room(mount, used, status.f_bavail * status.f_frsize)
            if pool:
                pools.setdefault(pool, []).append(room)
                continue
            readings.append(_bytes(room))
            if status.f_files:  # some file systems make inodes as they need them
                inodes = share(status.f_files - status.f_ffree, status.f_files)
                readings.append(Reading(_INODES, inodes, _labels(mount)))
        return readings + [_bytes(room) for pool in pools.values() for room in of_a_pool(pool)]


def of_a_pool(datasets: Sequence[Room]) -> list[Room]:
    """The datasets of a ZFS pool as one, and by itself each that has a quota of its own.

    Datasets share their pool's free space. One that sees less of it than others has a quota.
    """
    free = max(each.free for each in datasets)
    own = [each for each in datasets if each.free < _ALL_OF_IT * free]
    shared = [each for each in datasets if each not in own]
    mount = min((each.mount for each in shared), key=lambda name: (len(name), name))
    return [Room(mount, sum(each.used for each in shared), free), *own]


def _bytes(room: Room) -> Reading:
    return Reading(_BYTES, share(room.used, room.used + room.free), _labels(room.mount))


def _labels(mount: str) -> dict[str, str]:
    return {"mount": visible(mount).translate(_IN_ONE_LINE)}


def _directories(mounts: str) -> dict[str, str]:
    """The accessible mount points, each with its pool."""
    found = mount_points(mounts, _TYPES.read_text(encoding="ascii"))
    return {mount: pool for mount, pool in found.items() if _is_directory(mount)}


def _is_directory(mount: str) -> bool:
    try:
        return stat.S_ISDIR(Path(mount).stat().st_mode)
    except OSError:
        return False


def mount_points(mounts: str, types: str) -> dict[str, str]:
    """A mount point for each file system that can fill up, the shortest of them, with its pool.

    That is the root, whatever it is; file systems on devices; and those in memory, but for the
    many small ones that containers and services are given. An image that can only be read is
    always full, and no fault; what the kernel made read-only after an error is still watched.
    Mounts are the same file system by its superblock's device: binds are, and so are the
    subvolumes of a btrfs, although files there have other device numbers.
    The pool is that of a ZFS dataset; empty for others.

    Args:
        mounts: ``/proc/self/mountinfo``.
        types: ``/proc/filesystems``.
    """
    on_devices = {line.strip() for line in types.splitlines() if not line.startswith("nodev")}
    watched = (on_devices | {_ZFS, _IN_MEMORY}) - _IMAGES
    seen: dict[str, tuple[str, str, str, str]] = {}
    # Of the ends of lines that Python knows, the kernel escapes only this one in names.
    for line in mounts.split("\n"):
        place, dash, origin = line.partition(" - ")
        if not dash:
            continue
        _, _, device, _, mount, *_ = place.split(" ")
        kind, source, options = origin.split(" ", 2)
        # A file system that is mounted over another one hides it.
        seen[unescaped(mount)] = (device, kind, source, options)
    points: dict[str, tuple[str, str]] = {}
    ended = stopped(mounts)
    for mount, (device, kind, source, options) in seen.items():
        given = kind == _IN_MEMORY and mount.startswith(_GIVEN)
        read_only = "ro" in options.split(",") and mount not in ended
        if (mount == "/" or kind in watched) and not (given or read_only or kind in _IMAGES):
            pool = source.partition("/")[0] if kind == _ZFS else ""
            points[device] = min(points.get(device, (mount, pool)), (mount, pool), key=_length)
    return dict(points.values())


def _length(point: tuple[str, str]) -> int:
    return len(point[0])


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
