"""Finds the machine of an alert whose labels name two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.healer.health.records import HEALTH
from services.healer.incidents.alertmanager_alerts import (
    Outside,
    OutsideAlert,
    machines_named,
    nodes_named,
    understood,
)
from services.healer.incidents.answers import ANSWERED
from services.healer.model.series_incidents import open_incident, read_signals_ahead
from shared.store import Records


@dataclass(frozen=True)
class Candidates:
    """An alert as a signal about each machine that it may be about."""

    first: tuple[Outside, ...]
    """The machines of ``instance`` and ``host``, the likeliest first."""
    nodes: tuple[Outside, ...]
    """The machines of labels that name a node."""


def candidates(alert: OutsideAlert, now: datetime, timeout: timedelta | None) -> Candidates:
    """Read an alert for each of the machines that its labels name."""
    first = machines_named(alert.labels)
    nodes = tuple(each for each in nodes_named(alert.labels) if each not in first)
    found = {name: understood(alert, now, timeout, name) for name in (*first, *nodes)}
    return Candidates(tuple(found[name] for name in first), tuple(found[name] for name in nodes))


def read_ahead(several: Iterable[Candidates], records: Records) -> None:
    """Read at once what ``located`` and the incidents' handling ask for of so many alerts."""
    found = [outside for each in several for outside in (*each.first, *each.nodes)]
    records.read_ahead(ANSWERED, keys={outside.series.host for outside in found})
    read_signals_ahead([(each.series, each.signal.event_id) for each in found], records)


def located(found: Candidates, records: Records) -> Outside:
    """The alert as a signal about the right machine.

    A label ``host`` may be the name of the machine behind ``instance``, or a virtual host on it. A
    machine that sends samples or runs an agent is one, and so is a node whose agent answers where
    ``instance`` is only who watches it. What an open incident was about first stays so, since its
    end must find it.
    """
    nodes = [each for each in found.nodes if _answers(each.series.host, records)]
    if any(_answers(each.series.host, records) for each in found.first):
        nodes = []
    meant = (*nodes, *found.first)
    if len(meant) == 1:
        return meant[0]
    known_open = (each for each in meant if open_incident(records, each.series) is not None)
    known = (each for each in meant if _is_known(each.series.host, records))
    return next(known_open, None) or next(known, meant[0])


def _is_known(host: str, records: Records) -> bool:
    return records.get(HEALTH, f"machine/{host}") is not None or _answers(host, records)


def _answers(host: str, records: Records) -> bool:
    return records.get(ANSWERED, host) is not None
