"""Finds what in settings and silences would keep a critical alert from reaching anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from services.healer.model.canary import CANARIES
from services.healer.model.notification import CHANNEL_FAILURES, DELIVERIES
from services.healer.notify.channels.base import Channel
from services.healer.notify.inhibition import INHIBITIONS
from services.healer.notify.matchers import all_match
from services.healer.notify.silences import SILENCES, Silence
from services.healer.settings import HealerSettings
from shared.contracts.alerts import AnomalyKind, SeriesRef
from shared.contracts.healing import Level
from shared.service import Context

_STRANGER = {
    "host": "barograph-nobody-names-this-host",
    "item": "barograph.nobody.names.this.item",
    "family": "other",
    "severity": "critical",
}
"""The labels of an alert that only a rule for every alert matches."""
_ANY = SeriesRef(host=_STRANGER["host"], item=_STRANGER["item"])
_KIND = AnomalyKind.OTHER
_FAILING, _LOOKED_AT = 3, 1000
_ENDLESS = timedelta(days=366)
_CANARY_LATE = 4
"""Rounds without success."""


def problems(settings: HealerSettings, ctx: Context) -> list[str]:
    """The obstacles between an open critical alert and people, one sentence each; empty: none."""
    return [
        *_of_channels(settings.all_channels),
        *_of_deliveries(settings.all_channels, ctx),
        *_of_silences(settings, ctx),
        *_of_rules(settings, ctx),
        *_of_canary(settings.canary_every_s, ctx),
    ]


def _of_channels(channels: tuple[Channel, ...]) -> Iterator[str]:
    if not channels:
        yield "No channel is configured: nobody is notified of anything."
        return
    takes_all = [
        channel
        for channel in channels
        if not channel.escalation_only
        and (channel.kinds is None or "firing" in channel.kinds)
        and all_match(channel.only, _STRANGER)
        and channel.TYPE != "deadman"
    ]
    if not takes_all:
        names = ", ".join(channel.name for channel in channels)
        yield (
            f"No channel takes every critical alert: {names} are for escalations, some kinds or "
            "some alerts only."
        )


def _of_deliveries(channels: tuple[Channel, ...], ctx: Context) -> Iterator[str]:
    waiting = ctx.records.find(DELIVERIES, status=("pending", "sending"), limit=_LOOKED_AT)
    failing = Counter(d.channel for d in waiting if d.attempts >= _FAILING)
    why = {d.channel: d.problem for d in waiting if d.attempts >= _FAILING}
    configured = {f"{each.name} {to}".strip() for each in channels for to in each.recipients()}
    for failure in ctx.records.find(CHANNEL_FAILURES, limit=_LOOKED_AT):
        if failure.refused and failure.recipient in configured:
            yield (
                f"{failure.recipient} refused a notice and has taken none since: {failure.problem}"
            )
    for name, count in sorted(failing.items()):
        yield f"Channel {name} has not taken {count} notices for several attempts: {why[name]}"
    for name in sorted({f"{d.channel} {d.recipient}".strip() for d in waiting} - configured):
        yield (
            f"Notices wait for {name}, which is not configured any more; they are given up "
            "after a day."
        )


def _of_silences(settings: HealerSettings, ctx: Context) -> Iterator[str]:
    for silence in (*settings.alerting.windows, *ctx.records.find(SILENCES)):
        if ctx.now >= silence.ends_at:
            continue
        until = silence.open_until(ctx.now)
        if until is not None and all_match(silence.matchers, _STRANGER):
            yield f"{_named(silence)} mutes every alert until {until:%F %R} UTC."
        last = until if silence.recurrence else silence.ends_at
        if last is not None and last - ctx.now > _ENDLESS:
            yield f"{_named(silence)} has no end in sight: it mutes until {silence.ends_at:%F}."


def _of_canary(every_s: float, ctx: Context) -> Iterator[str]:
    """The canary is an alarm of our own that passes through everything a real one does."""
    state = ctx.records.get(CANARIES, "canary")
    if not every_s or state is None:
        return
    last = state.ok_at or state.began
    if last is not None and ctx.now - last > _CANARY_LATE * timedelta(seconds=every_s):
        yield (
            f"The canary's alarm has not come through since {last:%F %R} UTC: other alarms might "
            "not either. `barograph doctor` shows where samples or messages stop."
        )


def _named(silence: Silence) -> str:
    return f"Silence {silence.silence_id} of {silence.owner}"


def _of_rules(settings: HealerSettings, ctx: Context) -> Iterator[str]:
    rules = settings.policy.rules
    for number, rule in enumerate(rules):
        hidden = next((n for n, first in enumerate(rules[:number]) if first.covers(rule)), None)
        if hidden is not None:
            yield f"Rule {number} of the policy never matches: rule {hidden} matches all of it."
        elif rule.level is Level.OBSERVE and not rule.kinds and rule.matches(_ANY, _KIND):
            yield f"Rule {number} of the policy lets nobody be notified of alerts that reach it."
    named = {name for step in settings.alerting.escalation for name in step.channels}
    for channel in settings.all_channels:
        if channel.escalation_only and not channel.jobs and channel.name not in named:
            yield f"Channel {channel.name} is for escalations only, and no step of one names it."
    for inhibition in (*settings.alerting.inhibit, *ctx.records.find(INHIBITIONS)):
        if all_match(inhibition.target, _STRANGER):
            yield f"Inhibition {inhibition.name} attaches every alert with its labels to a cause."
