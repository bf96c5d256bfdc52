"""The kill switch, as the healer and every node agent remember it: the latest use of it holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts.healing import HealingResume, HealingStop
from shared.store import Collection, Records

_KEPT = timedelta(days=8)
"""Revocations are remembered for longer than any message waits to be delivered again."""


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


def stop(message: HealingStop, switches: Collection[Switch], records: Records) -> bool:
    """Turn the switch on unless it was revoked since; return whether the message is news."""
    switch = Switch(hosts=message.hosts, by=message.by, reason=message.reason, at=message.at)
    old, resumed = records.get(switches, message.hosts), records.get(RESUMPTIONS, message.hosts)
    if old == switch or (resumed is not None and message.at < resumed.at):
        return False
    if old is None or old.at <= message.at:
        records.put(switches, switch)
    return True


def resume(
    message: HealingResume, switches: Collection[Switch], records: Records, now: datetime
) -> bool:
    """Turn the switch off unless it was thrown again since; return whether it was on."""
    resumed = records.get(RESUMPTIONS, message.hosts)
    if resumed is None or resumed.at < message.at:
        forget_at = now + _KEPT
        resumed = Resumption(hosts=message.hosts, at=message.at, forget_at=forget_at)
        records.put(RESUMPTIONS, resumed)
    old = records.get(switches, message.hosts)
    if old is None or old.at > message.at:
        return False
    records.delete(switches, message.hosts)
    return True
