"""Machines by the healer's events: their health as last reported, and where healing is stopped."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError

from services.client.alerts.records import KEPT
from shared.changes import with_changes
from shared.contracts import HealingSwitched, HealthReported
from shared.newest import is_overtaken
from shared.service import Context
from shared.store import Collection, Store

STOPPED, GOES_ON = "stopped", "goes on"


class Stop(BaseModel):
    """The latest use of the kill switch for a pattern of machines."""

    model_config = ConfigDict(frozen=True)

    hosts: str
    by: str
    reason: str
    at: AwareDatetime
    stopped: bool = True

    @property
    def forget_at(self) -> datetime | None:
        """The time at which a revocation can be forgotten; a stop lasts until it is revoked."""
        return None if self.stopped else self.at + KEPT


HEALTH = Collection(
    "client-health",
    HealthReported,
    key=lambda each: f"{each.scope}/{each.name}",
    group=lambda each: each.scope,
    due=lambda each: each.at,
)
STOPS = Collection(
    "client-stops",
    Stop,
    key=lambda each: each.hosts,
    status=lambda each: STOPPED if each.stopped else GOES_ON,
    due=lambda each: each.forget_at,
)
_NONE: tuple[str | None, None] = (None, None)
_LISTED = TypeAdapter(list[Stop])


def health_reported(event: HealthReported, ctx: Context) -> tuple[()]:
    """Keep the newest report of a machine or a group."""
    known = ctx.records.get(HEALTH, HEALTH.key(event))
    if known is None or _is_later(event.at, known.at, ctx.now):
        ctx.records.put(HEALTH, event)
    return ()


def healing_switched(event: HealingSwitched, ctx: Context) -> tuple[()]:
    """Keep the latest use of the switch for this pattern."""
    known = ctx.records.get(STOPS, event.hosts)
    if known is None or _is_later(event.at, known.at, ctx.now):
        fields = event.model_dump(include={"hosts", "by", "reason", "at", "stopped"})
        ctx.records.put(STOPS, Stop.model_validate(fields))
    return ()


class Machines:
    """The machines in the client's own store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, tuple[str, HealthReported]] = {}
        self._reading = threading.Lock()

    def reports(self) -> tuple[list[HealthReported], list[HealthReported]]:
        """The newest reports of all machines, and of all groups.

        Few of thousands are new each time that a page is drawn, and only these are read: every
        report is due at the time at which it was made, which no later one of its machine shares.
        """
        with self._reading, self._store.reading() as records:
            due = records.due(HEALTH)
            known = self._read
            records.read_ahead(HEALTH, keys=(k for k in due if known.get(k, _NONE)[0] != due[k]))
            found: dict[str, tuple[str, HealthReported]] = {}
            for key, at in due.items():
                before = known.get(key, _NONE)
                report = before[1] if before[0] == at else records.get(HEALTH, key)
                if report is not None:
                    found[key] = at, report
            self._read = found
        machines = [each for _, each in found.values() if each.scope == "machine"]
        return machines, [each for _, each in found.values() if each.scope == "group"]

    def report_of(self, name: str) -> HealthReported | None:
        """The machine's newest report."""
        with self._store.reading() as records:
            return records.get(HEALTH, f"machine/{name}")

    def stopped(self) -> list[Stop]:
        """The patterns of machines on which healing is stopped."""
        with self._store.reading() as records:
            return records.find(STOPS, status=STOPPED)

    def switched(self, hosts: str, answer: httpx.Response) -> None:
        """Show at once what a person switched here; ``answer`` lists the healer's stops."""
        try:
            listed = {each.hosts: each for each in _LISTED.validate_json(answer.content)}
        except ValidationError:
            return  # the event says it
        with self._store.transaction() as records:
            known = records.get(STOPS, hosts)
            if hosts in listed:
                if known is None or _is_later(listed[hosts].at, known.at, datetime.now(UTC)):
                    records.put(STOPS, listed[hosts])
            elif known is not None and known.stopped:
                records.put(STOPS, with_changes(known, stopped=False))


def _is_later(at: datetime, known_at: datetime, now: datetime) -> bool:
    return at != known_at and not is_overtaken(at, known_at, now)
