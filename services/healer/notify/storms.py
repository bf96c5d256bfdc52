"""Storms: when more alerts come than anybody reads, one summary lists them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.model.notice import Line, Summary
from services.healer.model.notification import Standing, StormState
from services.healer.model.policy import RANK, worst
from services.healer.notify.compose import line, message_id
from services.healer.notify.render.story import subject
from services.healer.notify.render.text import word
from services.healer.notify.settings import Storm
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id

_COUNTED, _NAMED = 12, 4


def breaks_out(state: StormState, fresh: int, attached: int, now: datetime, how: Storm) -> bool:
    """Whether notices about ``fresh`` more alerts would be too many within the window.

    One cause with hundreds of effects is one mail; some such causes are a storm.

    Args:
        state: the alerts that people were notified of lately.
        fresh: alerts of which each would have its own notice.
        attached: further ones that follow from those or from others.
        now: the time.
        how: the settings.
    """
    notified = fresh + _sum(_lately(state.recent, now, how))
    effects = attached + _sum(_lately(state.attached, now, how))
    if notified > how.alerts:
        return True
    return bool(fresh) and notified > how.causes and notified + effects > how.alerts


def noted(state: StormState, fresh: int, attached: int, now: datetime, how: Storm) -> StormState:
    """The state after ``fresh`` notices, and ``attached`` effects of them or of earlier ones."""
    return state.model_copy(
        update={
            "recent": (*_lately(state.recent, now, how), (now, fresh)),
            "attached": (*_lately(state.attached, now, how), (now, attached)),
        }
    )


_Counts = tuple[tuple[datetime, int], ...]


def _lately(counts: _Counts, now: datetime, how: Storm) -> _Counts:
    since = now - timedelta(seconds=how.window_s)
    return tuple((at, count) for at, count in counts if at > since)


def _sum(counts: _Counts) -> int:
    return sum(count for _, count in counts)


def goes_on(state: StormState, fresh: int, now: datetime, how: Storm) -> StormState:
    """A summary of ``fresh`` alerts is sent; the next one comes later than this one did."""
    pause = min(how.interval_s * 2**state.summaries, how.max_interval_s)
    return state.model_copy(
        update={
            "since": state.since or now,
            "summaries": state.summaries + 1,
            "total": state.total + fresh,
            "next_at": now + timedelta(seconds=pause),
            "thread_id": state.thread_id or _id(state, now),
        }
    )


def summary(
    state: StormState,
    causes: Sequence[Standing],
    attached: Sequence[Standing],
    now: datetime,
    how: Storm,
    *,
    over: bool,
) -> Summary:
    """The storm in one notice: alerts without a known cause first, those with most effects on top.

    Args:
        state: the storm, this summary counted.
        causes: alerts with no cause among the open ones.
        attached: alerts that follow from others.
        now: its time.
        how: the settings.
        over: whether it is the storm's last.
    """
    effects = Counter(standing.cause for standing in attached)
    first = sorted(
        causes, key=lambda s: (s.ended, -effects[s.incident_id], -RANK[s.severity], s.since)
    )
    rows = [line(s, s.kind) for s in first] + [line(s, s.kind, s.cause) for s in attached]
    hosts = {row.series.host for row in rows}
    headline = f"{len(rows)} alerts on {len(hosts)} machine{'s' * (len(hosts) != 1)}"
    if over:
        headline = f"storm over after {state.total} alerts"
    return Summary(
        message_id=_id(state, now),
        thread_id=state.thread_id if state.summaries > 1 else "",
        kind="storm over" if over else "storm",
        severity=worst([row.severity for row in rows]),
        headline=headline,
        sentences=tuple(_sentences(state, first, rows, dict(effects), over=over)),
        counts=_counts(rows),
        listed=how.listed,
        rows=tuple(rows),
        attached=dict(effects),
        at=now,
    )


def _sentences(
    state: StormState,
    causes: Sequence[Standing],
    rows: Sequence[Line],
    effects: dict[str, int],
    *,
    over: bool,
) -> Iterator[str]:
    """How many since when and how bad, what causes them, and what comes next."""
    begins = [row.since for row in rows] + ([state.since] if state.since else [])
    since = f"since {min(begins):%H:%M:%S} UTC" if begins else "now"
    critical = sum(row.severity is Severity.CRITICAL for row in rows)
    total = f"; {state.total} in all {since}" if state.total > len(rows) else f" {since}"
    if rows:
        many = f"{len(rows)} alerts{total}, {critical} of them critical."
        yield many if not over else f"{many} There are few enough now to be told one by one."
    else:
        yield f"No more alerts came; {state.total} in all {since}."
    if effects:
        worst_first = [cause for cause in causes if cause.incident_id in effects]
        named = [f"{subject(c.series)} ({effects[c.incident_id]})" for c in worst_first[:_NAMED]]
        more = len(worst_first) - len(named)
        rest = f" and {more} more" if more > 0 else ""
        yield (
            f"{sum(effects.values())} of them follow from {', '.join(named)}{rest}. "
            "Please look at these first."
        )
    elif rows and not over:
        yield "No cause of many is known. Please look at the critical ones first."
    if over:
        yield "From now on there is a notice for each group of alerts again."
    elif state.next_at is not None:
        yield (
            f"The next summary comes at {state.next_at:%H:%M:%S} UTC; until then there is no "
            "notice of single alerts. Every alert of this one is in the attached table."
        )


def _counts(rows: Sequence[Line]) -> tuple[tuple[str, int], ...]:
    found = Counter(f"{word(row)} {row.severity} {row.series.item}" for row in rows)
    most = found.most_common(_COUNTED)
    rest = len(rows) - sum(count for _, count in most)
    return (*most, ("others", rest)) if rest else tuple(most)


def _id(state: StormState, now: datetime) -> str:
    began = state.since or now
    return message_id(deterministic_id("storm", began.isoformat()), max(state.summaries, 1))
