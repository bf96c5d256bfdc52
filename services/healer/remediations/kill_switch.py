"""The kill switch, as the healer and every node agent remember it: the latest use of it holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.changes import changed
from shared.contracts.healing import HealingResume, HealingStop
from shared.newest import is_overtaken
from shared.store import Collection, Records

_KEPT = timedelta(days=8)
"""Revocations are remembered for longer than any message waits to be delivered again."""


MAX_PATTERNS = 1_000
"""Patterns of machines that are stopped; a program on the broker may make up any number."""
EVERYWHERE = "*"


class Switch(BaseModel):
    """A kill switch that is on for a pattern of machines."""

    model_config = ConfigDict(frozen=True)

    hosts: str
    by: str
    reason: str
    at: AwareDatetime


class Resumption(BaseModel):
    """The last revocation of a kill switch: an older stop that is delivered later is over."""

    model_config = ConfigDict(frozen=True)

    hosts: str
    at: AwareDatetime
    forget_at: AwareDatetime


RESUMPTIONS = Collection(
    "resumptions", Resumption, key=lambda r: r.hosts, due=lambda r: r.forget_at
)


def stop(
    message: HealingStop, switches: Collection[Switch], records: Records, now: datetime
) -> HealingStop | None:
    """Turn the switch on unless it was revoked since; the message as it holds, None for no news.

    Whoever may stop healing may stop it everywhere. So where too many patterns would be
    remembered, everything is stopped rather than nothing.
    """
    resumed = records.get(RESUMPTIONS, message.hosts)
    if resumed is not None and is_overtaken(message.at, resumed.at, now):
        return None
    if message.hosts != EVERYWHERE and _is_one_too_many(message.hosts, switches, records):
        if records.get(switches, EVERYWHERE) is not None:
            return None
        # It is of now: that everything was resumed before says nothing of these machines.
        reason = f"{message.hosts} was to be stopped, beside {MAX_PATTERNS} patterns of machines"
        message = changed(message, hosts=EVERYWHERE, reason=reason, at=now)
    old = records.get(switches, message.hosts)
    switch = Switch(hosts=message.hosts, by=message.by, reason=message.reason, at=message.at)
    if old == switch:
        return None
    if old is None or not is_overtaken(message.at, old.at, now):
        records.put(switches, switch)
    return message


def _is_one_too_many(hosts: str, switches: Collection[Switch], records: Records) -> bool:
    known = records.get(switches, hosts) is not None
    return not known and sum(records.count(switches).values()) >= MAX_PATTERNS


def resume(
    message: HealingResume, switches: Collection[Switch], records: Records, now: datetime
) -> bool:
    """Turn the switch off unless it was thrown again since; return whether it was on."""
    resumed = records.get(RESUMPTIONS, message.hosts)
    if resumed is None or not is_overtaken(message.at, resumed.at, now):
        forget_at = now + _KEPT
        resumed = Resumption(hosts=message.hosts, at=message.at, forget_at=forget_at)
        records.put(RESUMPTIONS, resumed)
    old = records.get(switches, message.hosts)
    if old is None or is_overtaken(message.at, old.at, now):
        return False
    records.delete(switches, message.hosts)
    return True
