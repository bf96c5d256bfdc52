"""Series of node_exporter and windows_exporter in terms of our items (see ``shared.items``).

Each rule says: a series of this metric with these labels feeds an operand of an item. An item is
the formula of its operands' sums (and of how many series each sum has) at one scrape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.device_names import LAYERED, NO_DISK, VIRTUAL_INTERFACE

Floats = NDArray[np.float64]
OPERANDS = 4
"""Operands a formula has at most."""

Formula = Callable[[Floats, Floats], Floats]
"""``(sums, counts)``, each (n, OPERANDS), to values (n,)."""


@dataclass(frozen=True)
class Feed:
    """A series feeds ``operand`` of ``item``; counters do so as rates per second."""

    item: str
    operand: int
    where: Mapping[str, str] = field(default_factory=dict)
    """Labels the series must have: patterns of whole values."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The series' label to the item's label, for items there are several of."""
    counted: bool = False
    """Only that the series is there matters, not its value."""
    of_a_disk: bool = False
    """True if all mounts of the same disk are one item."""


@dataclass(frozen=True)
class Derived:
    """An item made from operands: how many there are, and how."""

    operands: int
    formula: Formula


def _mean_share(sums: Floats, counts: Floats) -> Floats:
    return np.clip(100 * sums[:, 0] / counts[:, 0], 0, 100)


def _per_core(sums: Floats, counts: Floats) -> Floats:
    return sums[:, 0] / counts[:, 1]


def _used_share(sums: Floats, counts: Floats) -> Floats:
    """Operands total and free; without anything nothing is used."""
    del counts
    total = np.where(sums[:, 0] > 0, sums[:, 0], 1.0)
    return np.where(sums[:, 0] > 0, 100 * (1 - sums[:, 1] / total), 0.0)


def _mean_used_share(sums: Floats, counts: Floats) -> Floats:
    """Return the used share where exporters give an amount under an old and a new name."""
    return _used_share(sums / np.maximum(counts, 1), counts)


def _df_share(sums: Floats, counts: Floats) -> Floats:
    """The share that ``df`` shows: used / (used + available). Operands: size, free, available,
    read-only.
    """
    del counts
    used = sums[:, 0] - sums[:, 1]
    room = used + sums[:, 2]
    share = np.where(room > 0, 100 * used / np.where(room > 0, room, 1.0), 0.0)
    return _unless(sums[:, 3] > 0, share)


def _inodes_share(sums: Floats, counts: Floats) -> Floats:
    """Operands total, free, read-only."""
    return _unless(sums[:, 2] > 0, _used_share(sums, counts))


def _unless(read_only: NDArray[np.bool_], share: Floats) -> Floats:
    """Leave out read-only file systems, such as those of COS and Flatcar, which are always full."""
    return np.where(read_only, np.nan, share)


def _await(sums: Floats, counts: Floats) -> Floats:
    """Seconds spent per second by requests per second, in milliseconds."""
    del counts
    requests = sums[:, 1]
    return np.where(requests > 0, 1000 * sums[:, 0] / np.where(requests > 0, requests, 1.0), 0.0)


def _plain(sums: Floats, counts: Floats) -> Floats:
    return sums[:, 0] / counts[:, 0]


def _milliseconds(sums: Floats, counts: Floats) -> Floats:
    return 1000 * _plain(sums, counts)


def _busy(sums: Floats, counts: Floats) -> Floats:
    return np.clip(100 * _plain(sums, counts), 0, 100)


def _of_speed(sums: Floats, counts: Floats) -> Floats:
    """Bytes per second of the interface's bytes per second; unknown speed: no value."""
    del counts
    known = sums[:, 1] > 0
    return np.where(known, 100 * sums[:, 0] / np.where(known, sums[:, 1], 1.0), np.nan)


DERIVED: dict[str, Derived] = {
    "cpu.idle": Derived(1, _mean_share),
    "cpu.user": Derived(1, _mean_share),
    "load.1min": Derived(2, _per_core),
    "load.5min": Derived(2, _per_core),
    "disk.io.util": Derived(1, _busy),
    "disk.io.await": Derived(2, _await),
    "df.bytes.used.percent": Derived(3, _df_share),
    "df.inodes.used.percent": Derived(2, _inodes_share),
    "mem.memused.percent": Derived(2, _mean_used_share),
    "mem.swapused.percent": Derived(2, _used_share),
    "net.if.in.bytes": Derived(1, _plain),
    "net.if.out.bytes": Derived(1, _plain),
    "net.if.in.usage": Derived(2, _of_speed),
    "net.if.out.usage": Derived(2, _of_speed),
    "ss.closed": Derived(1, _plain),
    "sys.ntpd.offset": Derived(1, _milliseconds),
    "host.alive": Derived(1, _plain),
}
"""Items made from exporters' series."""

_EXPORTERS_OF_MACHINES = r"(.*[-_/])?(node|windows|unix)s?([-_]?exporter([-_].*)?)?"
"""Names of jobs that scrape machines themselves; other jobs' ``up`` says nothing of a machine."""
_MOUNT = {"mountpoint": "mount"}
_IMAGES = r"squashfs|iso9660|udf|erofs|cramfs|romfs|fuse\.(squashfuse(_ll)?|snapfuse)"
"""File systems that can only be read, and are always full."""
_LAYERS = r"overlay|aufs"
"""File systems of containers: their room is that of the disk below."""
_GIVEN = (
    r"/(proc|sys|run/(containerd|credentials|docker|user)|var/lib/(containers|docker|kubelet))/.*"
)
"""Mount points of file systems in memory that hold a few secrets or settings each."""
_FILLING_UP = (
    {"fstype": rf"(?!({_IMAGES}|{_LAYERS}|tmpfs)$).*"},
    {"fstype": "tmpfs", "mountpoint": rf"(?!{_GIVEN}$).*"},
    {"fstype": _LAYERS, "mountpoint": "/"},
)
_DRIVE = {"volume": r"[A-Za-z]:.*"}
"""Volumes of Windows with a letter; a HarddiskVolume1 is a boot partition, nearly full for good."""


def _df(item: str, operand: int) -> tuple[Feed, ...]:
    return tuple(
        Feed(item, operand, where=where, labels=_MOUNT, of_a_disk=True) for where in _FILLING_UP
    )


def _drive(*operands: int) -> tuple[Feed, ...]:
    item, labels = "df.bytes.used.percent", {"volume": "mount"}
    return tuple(Feed(item, operand, where=_DRIVE, labels=labels) for operand in operands)


def disk_of(labels: Mapping[str, str]) -> str:
    """The disk of a file system, by which its other mounts are known; empty if nothing says so.

    Binds, subvolumes and the volumes of pods are mounts of the same disk. Other sources than
    devices, such as ``tmpfs``, are the names of many different file systems.
    """
    device = labels.get("device", "")
    is_one = device.startswith("/dev/") and not labels.get("fstype", "").startswith("fuse")
    return device if is_one else ""


_DEVICE = {"device": "device"}
_DISK = {"device": rf"(?!({NO_DISK}|{LAYERED})$).*"}
_INTERFACE = {"device": "interface"}
_ADAPTER = {"nic": "interface"}
_ON_A_WIRE = {"device": rf"(?!{VIRTUAL_INTERFACE}).*"}


def _disk(what: str, operand: int) -> tuple[Feed, ...]:
    return (Feed(f"disk.io.{what}", operand, where=_DISK, labels=_DEVICE),)


def _net(way: str, labels: Mapping[str, str] = _INTERFACE) -> tuple[Feed, ...]:
    return (
        Feed(f"net.if.{way}.bytes", 0, labels=labels),
        Feed(f"net.if.{way}.usage", 0, labels=labels),
    )


def _speed(labels: Mapping[str, str], where: Mapping[str, str] = {}) -> tuple[Feed, ...]:
    return tuple(
        Feed(f"net.if.{way}.usage", 1, where=where, labels=labels) for way in ("in", "out")
    )


FEEDS: dict[str, tuple[Feed, ...]] = {
    "node_cpu_seconds_total": (
        Feed("cpu.idle", 0, where={"mode": "idle"}),
        Feed("cpu.user", 0, where={"mode": "user"}),
        Feed("load.1min", 1, where={"mode": "idle"}, counted=True),
        Feed("load.5min", 1, where={"mode": "idle"}, counted=True),
    ),
    "node_load1": (Feed("load.1min", 0),),
    "node_load5": (Feed("load.5min", 0),),
    "node_disk_io_time_seconds_total": _disk("util", 0),
    "node_disk_read_time_seconds_total": _disk("await", 0),
    "node_disk_write_time_seconds_total": _disk("await", 0),
    "node_disk_reads_completed_total": _disk("await", 1),
    "node_disk_writes_completed_total": _disk("await", 1),
    "node_filesystem_size_bytes": _df("df.bytes.used.percent", 0),
    "node_filesystem_free_bytes": _df("df.bytes.used.percent", 1),
    "node_filesystem_avail_bytes": _df("df.bytes.used.percent", 2),
    "node_filesystem_files": _df("df.inodes.used.percent", 0),
    "node_filesystem_files_free": _df("df.inodes.used.percent", 1),
    "node_filesystem_readonly": (
        *_df("df.bytes.used.percent", 3),
        *_df("df.inodes.used.percent", 2),
    ),
    "node_memory_MemTotal_bytes": (Feed("mem.memused.percent", 0),),
    "node_memory_MemAvailable_bytes": (Feed("mem.memused.percent", 1),),
    "node_memory_SwapTotal_bytes": (Feed("mem.swapused.percent", 0),),
    "node_memory_SwapFree_bytes": (Feed("mem.swapused.percent", 1),),
    "node_network_receive_bytes_total": _net("in"),
    "node_network_transmit_bytes_total": _net("out"),
    "node_network_speed_bytes": _speed(_INTERFACE, _ON_A_WIRE),
    "node_sockstat_TCP_tw": (Feed("ss.closed", 0),),
    "node_timex_offset_seconds": (Feed("sys.ntpd.offset", 0),),
    "windows_cpu_time_total": (
        Feed("cpu.idle", 0, where={"mode": "idle"}),
        Feed("cpu.user", 0, where={"mode": "user"}),
    ),
    "windows_logical_disk_size_bytes": _drive(0),
    "windows_logical_disk_free_bytes": _drive(1, 2),
    "windows_cs_physical_memory_bytes": (Feed("mem.memused.percent", 0),),
    "windows_memory_physical_total_bytes": (Feed("mem.memused.percent", 0),),
    "windows_memory_available_bytes": (Feed("mem.memused.percent", 1),),
    "windows_net_bytes_received_total": _net("in", _ADAPTER),
    "windows_net_bytes_sent_total": _net("out", _ADAPTER),
    "windows_net_current_bandwidth_bytes": _speed(_ADAPTER),
    "up": (Feed("host.alive", 0, where={"job": _EXPORTERS_OF_MACHINES}),),
}
"""Maps exporters' series to items; all other series keep their own names."""


def feeds_of(item: str, labels: Mapping[str, str]) -> list[tuple[Feed, dict[str, str]]]:
    """The items a series feeds, each with the labels of the item's series; empty for others."""
    return [
        (feed, {new: labels[old] for old, new in feed.labels.items() if old in labels})
        for feed in FEEDS.get(item, ())
        if all(re.fullmatch(value, labels.get(name, "")) for name, value in feed.where.items())
    ]
