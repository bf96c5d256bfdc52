"""Events about silences and rules, by which pages show them without asking the healer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.healer.correlation import rules
from services.healer.correlation.rules import RULES
from services.healer.health.records import HEALTH
from services.healer.model.action import SWITCHES
from services.healer.model.notification import NOTIFICATION_STATES, NotificationStatus
from services.healer.model.transitions import collected
from services.healer.notify.silences import SILENCES, Silence
from services.healer.remediations.kill_switch import RESUMPTIONS
from shared.changes import with_changes
from shared.contracts import (
    AlertingAsk,
    AlertingReported,
    HealingSwitched,
    Message,
    SilenceChanged,
)
from shared.contracts.alerting import MAX_WINDOWS, digest_of
from shared.contracts.correlation import RuleState
from shared.contracts.message import deterministic_id
from shared.service import Context
from shared.store import Collection

_WINDOWS_FOR = timedelta(days=16)
_MAX_HELD, _MAX_REPORTS = 5_000, 5_000
_KEPT = timedelta(days=1)
"""The time for which it is remembered that a silence's end was published."""
_SHOWN = (RuleState.PROPOSED, RuleState.ACCEPTED, RuleState.REJECTED)


class Published(BaseModel):
    """The last published event about a silence."""

    model_config = ConfigDict(frozen=True)

    silence: Silence
    sequence: int
    configured: bool
    day: date | None
    """The day from which its windows were computed; None without a recurrence."""


PUBLISHED = Collection(
    "silences-published",
    Published,
    key=lambda p: p.silence.silence_id,
    due=lambda p: p.silence.ends_at,
)


def changed(silence: Silence, ctx: Context, *, configured: bool = False) -> SilenceChanged:
    """The event about a silence that was made, changed or ended; the same again is the same."""
    known = ctx.records.get(PUBLISHED, silence.silence_id)
    wanted = _wanted(silence, ctx.now, configured=configured)
    if known is None or not _same(known, wanted):
        # Greater than every earlier one, also than a forgotten one and that of another replica.
        now_ms = round(ctx.now.timestamp() * 1000)
        sequence = max(known.sequence + 1, now_ms) if known else now_ms
        known = with_changes(wanted, sequence=sequence)
        ctx.records.put(PUBLISHED, known)
    return _event(known, ctx.now)


@collected
def unpublished(windows: Sequence[Silence], ctx: Context) -> Iterator[Message]:
    """The events of all that has changed since the last ones, and the report about everything.

    Configured windows change with the settings, and the next windows of a rule with each day.
    """
    known = {each.silence.silence_id: each for each in ctx.records.find(PUBLISHED)}
    named = {window.silence_id for window in windows}
    for silence in (*windows, *ctx.records.find(SILENCES)):
        configured, of_it = silence.silence_id in named, known.get(silence.silence_id)
        if of_it is None and silence.ends_at <= ctx.now:
            continue  # over before anybody was to show it, or so long ago that it was forgotten
        if of_it is None or not _same(of_it, _wanted(silence, ctx.now, configured=configured)):
            yield changed(silence, ctx, configured=configured)
    for silence_id, each in known.items():
        if each.configured and silence_id not in named and each.silence.ends_at > ctx.now:
            yield changed(_ended(each.silence, ctx.now), ctx, configured=True)
    for each in ctx.records.find(PUBLISHED, due_before=ctx.now - _KEPT):
        ctx.records.delete(PUBLISHED, each.silence.silence_id)
    yield _report(ctx)


def asked(_message: AlertingAsk, ctx: Context) -> Iterable[Message]:
    """Publish everything once more, for a client that has missed some of it."""
    silences = [_event(each, ctx.now) for each in ctx.records.find(PUBLISHED)]
    found = ctx.records.find(RULES, status=[state.value for state in _SHOWN])
    news = (rules.news(rule, ctx) for rule in found)
    health = ctx.records.find(HEALTH, newest_first=True, limit=_MAX_REPORTS)
    return (*silences, *news, *_switches(ctx), *health, _report(ctx))


def _switches(ctx: Context) -> Iterator[HealingSwitched]:
    """The stops in force, and the revocations that are remembered."""
    for switch in ctx.records.find(SWITCHES):
        yield _switched(switch.hosts, switch.at, switch.by, switch.reason, stopped=True)
    for revoked in ctx.records.find(RESUMPTIONS):
        if ctx.records.get(SWITCHES, revoked.hosts) is None:
            yield _switched(revoked.hosts, revoked.at, "healer", "", stopped=False)


def _switched(hosts: str, at: datetime, by: str, reason: str, *, stopped: bool) -> HealingSwitched:
    return HealingSwitched(
        switch_id=deterministic_id("switch", hosts, stopped, at.isoformat()),
        hosts=hosts,
        stopped=stopped,
        by=by,
        reason=reason,
        at=at,
    )


def _report(ctx: Context) -> AlertingReported:
    in_force = [p for p in ctx.records.find(PUBLISHED) if p.silence.ends_at > ctx.now]
    found = ctx.records.find(RULES, status=[state.value for state in _SHOWN])
    held = ctx.records.find(NOTIFICATION_STATES, status=NotificationStatus.HELD, limit=_MAX_HELD)
    known = [(each.silence.silence_id, each.sequence) for each in in_force]
    known += [(rule.rule_id, rule.sequence) for rule in found]
    return AlertingReported(
        muted=sum(not each.ended and each.held_by.startswith("silence") for each in held),
        silences=len(in_force),
        rules=len(found),
        digest=digest_of(known, (switch.hosts for switch in ctx.records.find(SWITCHES))),
        at=ctx.now,
    )


def _wanted(silence: Silence, now: datetime, *, configured: bool) -> Published:
    day = now.astimezone(UTC).date() if silence.recurrence and silence.ends_at > now else None
    return Published(silence=silence, sequence=0, configured=configured, day=day)


def _same(known: Published, wanted: Published) -> bool:
    of_known = (known.silence, known.configured, known.day)
    return of_known == (wanted.silence, wanted.configured, wanted.day)


def _ended(silence: Silence, now: datetime) -> Silence:
    begins = min(silence.starts_at, now - timedelta(milliseconds=1))
    return with_changes(silence, starts_at=begins, ends_at=now)


def _event(known: Published, now: datetime) -> SilenceChanged:
    silence = known.silence
    fields: dict[str, Any] = silence.model_dump(
        include={"silence_id", "starts_at", "ends_at", "owner", "reason"}
    )
    if silence.recurrence is not None:
        fields["recurrence"] = silence.recurrence.model_dump()
    return SilenceChanged.model_validate(
        fields
        | {
            "sequence": known.sequence,
            "matchers": tuple(matcher.text() for matcher in silence.matchers),
            "configured": known.configured,
            "windows": _windows(known),
            "at": now,
        }
    )


def _windows(known: Published) -> list[dict[str, datetime]]:
    silence = known.silence
    if silence.recurrence is None:
        return [{"begin": silence.starts_at, "end": silence.ends_at}]
    if known.day is None:
        return []
    begin = datetime(known.day.year, known.day.month, known.day.day, tzinfo=UTC)
    found = silence.windows(begin, MAX_WINDOWS)
    return [{"begin": a, "end": b} for a, b in found if a < begin + _WINDOWS_FOR]
