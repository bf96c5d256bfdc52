"""Prometheus node_exporter's series in terms of our items (see ``shared.items``).

Each rule says: a series of this metric with these labels feeds an operand of an item. An item is
the formula of its operands' sums (and of how many series each sum has) at one scrape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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


def _df(sums: Floats, counts: Floats) -> Floats:
    """As ``df``: used / (used + available), with operands size, free, available."""
    del counts
    used = sums[:, 0] - sums[:, 1]
    room = used + sums[:, 2]
    return np.where(room > 0, 100 * used / np.where(room > 0, room, 1.0), 0.0)


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
    "df.bytes.used.percent": Derived(3, _df),
    "df.inodes.used.percent": Derived(2, _used_share),
    "mem.memused.percent": Derived(2, _used_share),
    "mem.swapused.percent": Derived(2, _used_share),
    "net.if.in.bytes": Derived(1, _plain),
    "net.if.out.bytes": Derived(1, _plain),
    "net.if.in.usage": Derived(2, _of_speed),
    "net.if.out.usage": Derived(2, _of_speed),
    "ss.closed": Derived(1, _plain),
    "sys.ntpd.offset": Derived(1, _milliseconds),
    "host.alive": Derived(1, _plain),
}
"""Items made from node_exporter's series."""

_EXPORTERS_OF_MACHINES = r"(.*[-_/])?(node|windows|unix)s?([-_]?exporter([-_].*)?)?"
"""Names of jobs that scrape machines themselves; other jobs' ``up`` says nothing of a machine."""
_MOUNT = {"mountpoint": "mount"}
_DEVICE = {"device": "device"}
_INTERFACE = {"device": "interface"}


def _net(way: str) -> tuple[Feed, ...]:
    return (
        Feed(f"net.if.{way}.bytes", 0, labels=_INTERFACE),
        Feed(f"net.if.{way}.usage", 0, labels=_INTERFACE),
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
    "node_disk_io_time_seconds_total": (Feed("disk.io.util", 0, labels=_DEVICE),),
    "node_disk_read_time_seconds_total": (Feed("disk.io.await", 0, labels=_DEVICE),),
    "node_disk_write_time_seconds_total": (Feed("disk.io.await", 0, labels=_DEVICE),),
    "node_disk_reads_completed_total": (Feed("disk.io.await", 1, labels=_DEVICE),),
    "node_disk_writes_completed_total": (Feed("disk.io.await", 1, labels=_DEVICE),),
    "node_filesystem_size_bytes": (Feed("df.bytes.used.percent", 0, labels=_MOUNT),),
    "node_filesystem_free_bytes": (Feed("df.bytes.used.percent", 1, labels=_MOUNT),),
    "node_filesystem_avail_bytes": (Feed("df.bytes.used.percent", 2, labels=_MOUNT),),
    "node_filesystem_files": (Feed("df.inodes.used.percent", 0, labels=_MOUNT),),
    "node_filesystem_files_free": (Feed("df.inodes.used.percent", 1, labels=_MOUNT),),
    "node_memory_MemTotal_bytes": (Feed("mem.memused.percent", 0),),
    "node_memory_MemAvailable_bytes": (Feed("mem.memused.percent", 1),),
    "node_memory_SwapTotal_bytes": (Feed("mem.swapused.percent", 0),),
    "node_memory_SwapFree_bytes": (Feed("mem.swapused.percent", 1),),
    "node_network_receive_bytes_total": _net("in"),
    "node_network_transmit_bytes_total": _net("out"),
    "node_network_speed_bytes": (
        Feed("net.if.in.usage", 1, labels=_INTERFACE),
        Feed("net.if.out.usage", 1, labels=_INTERFACE),
    ),
    "node_sockstat_TCP_tw": (Feed("ss.closed", 0),),
    "node_timex_offset_seconds": (Feed("sys.ntpd.offset", 0),),
    "up": (Feed("host.alive", 0, where={"job": _EXPORTERS_OF_MACHINES}),),
}
"""Which of node_exporter's series feed which items; all others keep their own names."""


def feeds_of(item: str, labels: Mapping[str, str]) -> list[tuple[Feed, dict[str, str]]]:
    """The items a series feeds, each with the labels of the item's series; empty for others."""
    return [
        (feed, {new: labels[old] for old, new in feed.labels.items() if old in labels})
        for feed in FEEDS.get(item, ())
        if all(re.fullmatch(value, labels.get(name, "")) for name, value in feed.where.items())
    ]
