"""An alert storm: switches fail, and with each everything on the machines of its rack."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from email.message import EmailMessage

import numpy as np

from shared.contracts import AnomalyDetected, Direction, Point, SeriesRef, Severity
from shared.contracts.message import deterministic_id

_POINTS = 60
RULES = [
    {
        "name": "switch",
        "source": ['item="switch.up"'],
        "target": ['item!="switch.up"'],
        "equal": ["rack"],
    }
]
"""The switch is the cause of what its rack tells."""


def alerts(count: int, roots: int) -> list[AnomalyDetected]:
    """Roots and their effects in the order in which they would be noticed."""
    chance = np.random.default_rng(1)
    made = []
    for number in range(count):
        rack = number % roots
        root = number < roots
        item = "switch.up" if root else ("app.errors", "host.alive", "queue.length")[number % 3]
        host = f"switch-{rack}" if root else f"machine-{rack}-{number // roots}"
        family = "host" if item in {"switch.up", "host.alive"} else "other"
        series = SeriesRef(host=host, item=item, labels={"rack": f"r{rack}"})
        values = chance.normal(size=_POINTS).round(4)
        now_ms = int(time.time() * 1000)
        made.append(
            AnomalyDetected(
                event_id=deterministic_id("storm", series.text()),
                series=series,
                family=family,
                severity=Severity.CRITICAL if root or number % 7 == 0 else Severity.WARNING,
                time_ms=now_ms,
                value=float(values[-1]),
                direction=Direction.DROP,
                periodic=None,
                votes=(),
                sentence=f"{item} left its normal range",
                recent=tuple(
                    Point(time_ms=now_ms - 60_000 * (_POINTS - k), value=float(v))
                    for k, v in enumerate(values)
                ),
            )
        )
    # The cause is rarely the first that is noticed.
    order = chance.permutation(count)
    return [made[i] for i in order]


def tables(mails: Iterable[EmailMessage]) -> set[str]:
    """The incidents in the mails' attached tables."""
    found = set()
    for mail in mails:
        for part in mail.iter_attachments():
            if part.get_filename() == "alerts.csv":
                rows = csv.DictReader(io.StringIO(str(part.get_content())))
                found |= {f"{row['machine']} {row['item']}" for row in rows}
    return found


def named(mails: Iterable[EmailMessage], hosts: Iterable[str]) -> list[str]:
    """Those hosts that the mails' text names."""
    bodies = [str(mail.get_body(("plain",)).get_content()) for mail in mails]
    return [host for host in hosts if any(f" {host} " in body for body in bodies)]
