"""The records of health: the latest score of each machine and group, and its open alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict

from services.healer.health.score import Alarms, of_group
from services.healer.model.action import MACHINES, Machine
from services.healer.model.incident import INCIDENTS
from services.healer.model.policy import Group
from services.healer.model.transitions import Phase
from shared.contracts import HealthReported, Message
from shared.contracts.alerts import AlertState, Severity
from shared.health_map import Hour
from shared.store import Collection, Records, Store

HEALTH = Collection(
    "health",
    HealthReported,
    key=lambda h: f"{h.scope}/{h.name}",
    group=lambda h: h.scope,
    status=lambda h: h.verdict,
    due=lambda h: h.at,
)


class Past(BaseModel):
    """The last day of a machine, hour by hour."""

    model_config = ConfigDict(frozen=True)

    name: str
    hours: tuple[Hour, ...]

    @property
    def until(self) -> datetime:
        """The start of its newest hour."""
        newest = max((hour.hour for hour in self.hours), default=0)
        return datetime.fromtimestamp(newest * 3600, UTC)


PASTS = Collection("health-past", Past, key=lambda past: past.name, due=lambda past: past.until)
_CURRENT = timedelta(hours=1)
"""A machine without a report for this time counts in no group: it was removed, or is silent."""
_MAX_RECORDS = 100_000
_OPEN = [phase for phase in Phase if phase is not Phase.CLOSED]


class Book:
    """Health in the healer's store: what ``HealthWorker`` shares with other replicas."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def alarms(self) -> dict[str, Alarms]:
        with self._store.transaction() as records:
            return open_alarms(records)

    def keep(self, reports: list[HealthReported]) -> None:
        with self._store.transaction() as records:
            keep(records, reports)

    def past(self, hosts: Sequence[str]) -> dict[str, tuple[Hour, ...]]:
        with self._store.transaction() as records:
            return pasts(records, hosts)

    def remember(self, hours: Mapping[str, Sequence[Hour]]) -> None:
        with self._store.transaction() as records:
            found = [Past(name=host, hours=tuple(known)) for host, known in hours.items()]
            records.put_all(PASTS, found)


def pasts(records: Records, hosts: Sequence[str]) -> dict[str, tuple[Hour, ...]]:
    """The last day of those of these machines that have one."""
    records.read_ahead(PASTS, keys=hosts)
    found = [records.get(PASTS, host) for host in hosts]
    return {past.name: past.hours for past in found if past is not None}


def keep(records: Records, reports: list[HealthReported]) -> None:
    """Store each machine's last report; from now on it counts as a machine."""
    records.put_all(HEALTH, reports)
    records.put_all(MACHINES, [Machine(host=r.name, seen=r.at) for r in reports])


def open_alarms(records: Records) -> dict[str, Alarms]:
    """Open alarms by machine."""
    found: dict[str, Alarms] = {}
    for incident in records.find(INCIDENTS, status=_OPEN, limit=_MAX_RECORDS):
        old = found.get(incident.series.host, Alarms())
        predicted = incident.state is AlertState.PREDICTED
        critical = not predicted and incident.severity is Severity.CRITICAL
        found[incident.series.host] = Alarms(
            old.critical + critical,
            old.warning + (not predicted and not critical),
            old.predicted + predicted,
        )
    return found


def forget(records: Records, before: datetime) -> None:
    """Delete machines and groups without reports since then."""
    for report in records.find(HEALTH, due_before=before):
        records.delete(HEALTH, HEALTH.key(report))
    for past in records.find(PASTS, due_before=before):
        records.delete(PASTS, past.name)


def groups(records: Records, wanted: tuple[Group, ...], now: datetime) -> Iterator[Message]:
    """A report for every group that has machines."""
    machines = records.find(HEALTH, group="machine", limit=_MAX_RECORDS) if wanted else []
    current = [machine for machine in machines if now - machine.at <= _CURRENT]
    for group in wanted:
        members = [m for m in current if fnmatchcase(m.name, group.hosts)]
        if members:
            fields = {"at": now, "hosts": group.hosts, **of_group(group.name, members)}
            report = HealthReported.model_validate(fields)
            records.put(HEALTH, report)
            yield report
