"""The catalogue of items: what each measures, when it alarms, how it usually behaves.

Item names are the ones in use in operations (``cpu.idle``, ``df.bytes.used.percent`` ...).
Prometheus' own series keep their names; what node_exporter's mean in item terms is decided where
they come in. An item that is not in the catalogue is watched for anomalies but has no threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    """The behaviour of a series: stable ones have a trend, volatile ones rhythm and noise."""

    STABLE = "stable"
    VOLATILE = "volatile"


@dataclass(frozen=True)
class Item:
    """One item of the catalogue.

    ``threshold`` is in ``unit``; ``above`` says on which side of it the alarm lies.
    ``minimum`` and ``maximum`` bound valid values (None: unbounded).
    """

    name: str
    family: str
    unit: str
    behaviour: Behaviour
    threshold: float | None = None
    above: bool = True
    minimum: float | None = 0.0
    maximum: float | None = None
    description: str = ""
    predicted: bool = True
    """True if its alarms are worth predicting."""
    bursts: bool = False
    """True if ordinary work takes it beyond its threshold for moments: its alarms need longer."""


CANARY = "barograph.canary"
"""The item of the healer's own test alarm."""

_STABLE, _VOLATILE = Behaviour.STABLE, Behaviour.VOLATILE

ITEMS: dict[str, Item] = {
    item.name: item
    for item in (
        Item(
            "cpu.idle",
            "cpu",
            "percent",
            _VOLATILE,
            10.0,
            above=False,
            maximum=100.0,
            bursts=True,
            description="Share of CPU time nothing used.",
        ),
        Item(
            "cpu.user",
            "cpu",
            "percent",
            _VOLATILE,
            maximum=100.0,
            description="Share of CPU time in user code.",
        ),
        Item(
            "proc.cpu.used.percent",
            "cpu",
            "percent",
            _VOLATILE,
            90.0,
            maximum=100.0,
            predicted=False,
            bursts=True,
            description="Used share of the cores a watched program may use; label program.",
        ),
        Item(
            "load.1min",
            "load",
            "processes per core",
            _VOLATILE,
            description="Load average over 1 minute, divided by the number of cores.",
        ),
        Item(
            "load.5min",
            "load",
            "processes per core",
            _VOLATILE,
            3.0,
            bursts=True,
            description="Load average over 5 minutes, divided by the number of cores.",
        ),
        Item(
            "disk.io.util",
            "disk",
            "percent",
            _VOLATILE,
            95.0,
            maximum=100.0,
            bursts=True,
            description="Share of time a device was busy; label device.",
        ),
        Item(
            "disk.io.await",
            "disk",
            "milliseconds",
            _VOLATILE,
            500.0,
            bursts=True,
            description="Mean time of an I/O request; label device.",
        ),
        Item(
            "df.bytes.used.percent",
            "disk",
            "percent",
            _STABLE,
            90.0,
            maximum=100.0,
            description="Used share of a file system or watched volume; label mount.",
        ),
        Item(
            "df.inodes.used.percent",
            "disk",
            "percent",
            _STABLE,
            90.0,
            maximum=100.0,
            description="Used share of a file system's inodes; label mount.",
        ),
        Item(
            "fs.readonly",
            "disk",
            "boolean",
            _STABLE,
            0.5,
            maximum=1.0,
            predicted=False,
            description="1 while the kernel lets nobody write to a file system because of an "
            "error; label mount.",
        ),
        Item(
            "mem.memused.percent",
            "memory",
            "percent",
            _STABLE,
            95.0,
            maximum=100.0,
            description="Used memory, caches not counted.",
        ),
        Item(
            "mem.swapused.percent",
            "memory",
            "percent",
            _STABLE,
            80.0,
            maximum=100.0,
            description="Used swap.",
        ),
        Item(
            "net.if.in.usage",
            "net",
            "percent",
            _VOLATILE,
            90.0,
            maximum=100.0,
            bursts=True,
            description="Received share of an interface's speed; label interface.",
        ),
        Item(
            "net.if.out.usage",
            "net",
            "percent",
            _VOLATILE,
            90.0,
            maximum=100.0,
            bursts=True,
            description="Sent share of an interface's speed; label interface.",
        ),
        Item(
            "net.if.in.bytes",
            "net",
            "bytes per second",
            _VOLATILE,
            description="Received; label interface.",
        ),
        Item(
            "net.if.out.bytes",
            "net",
            "bytes per second",
            _VOLATILE,
            description="Sent; label interface.",
        ),
        Item(
            "ss.closed",
            "net",
            "sockets",
            _VOLATILE,
            description="Sockets closed but not yet released.",
        ),
        Item(
            "host.alive",
            "host",
            "boolean",
            _VOLATILE,
            0.5,
            above=False,
            maximum=1.0,
            description="1 while the machine reports.",
        ),
        Item(
            "sender.alive",
            "host",
            "boolean",
            _VOLATILE,
            0.5,
            above=False,
            maximum=1.0,
            predicted=False,
            description="1 while who sends the samples of several machines does so.",
        ),
        Item(
            CANARY,
            "canary",
            "boolean",
            _VOLATILE,
            0.5,
            maximum=1.0,
            predicted=False,
            description="1 while Barograph's own test alarm shall be raised.",
        ),
        Item(
            "sys.ntpd.offset",
            "time",
            "milliseconds",
            _VOLATILE,
            minimum=None,
            description="Offset of the clock from its time server.",
        ),
    )
}
"""Every item by name."""


def family_of(item: str) -> str:
    """The family in an alert's routing key; ``other`` for items not in the catalogue."""
    known = ITEMS.get(item)
    return known.family if known else "other"
