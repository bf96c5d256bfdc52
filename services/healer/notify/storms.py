"""Storms: when there are more alerts than people can read, one summary lists them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from services.healer.model.notice import ENDINGS, Line, Summary
from services.healer.model.notification import NotificationState, StormState
from services.healer.model.policy import RANK, worst
from services.healer.notify.compose import line, message_id
from services.healer.notify.render.story import shown_name, subject
from services.healer.notify.render.title import word
from services.healer.notify.settings import Storm
from shared.changes import changed
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id
from shared.quantity import counted

_COUNTED, _NAMED = 12, 4
_DOUBLINGS = 64


def breaks_out(state: StormState, fresh: int, attached: int, now: datetime, how: Storm) -> bool:
    """Return whether notices about ``fresh`` more alerts would be too many within the window.

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
    """The state after ``fresh`` notified and ``attached`` inhibited alerts."""
    return changed(
        state,
        recent=(*_lately(state.recent, now, how), (now, fresh)),
        attached=(*_lately(state.attached, now, how), (now, attached)),
    )


_Counts = tuple[tuple[datetime, int], ...]


def _lately(counts: _Counts, now: datetime, how: Storm) -> _Counts:
    since = now - timedelta(seconds=how.window_s)
    return tuple((at, count) for at, count in counts if at > since)


def _sum(counts: _Counts) -> int:
    return sum(count for _, count in counts)


def goes_on(state: StormState, fresh: int, now: datetime, how: Storm) -> StormState:
    """The state after a summary of ``fresh`` alerts; the pause to the next one grows."""
    # A storm of days has more summaries than a float has powers of two.
    pause = min(how.interval_s * 2 ** min(state.summaries, _DOUBLINGS), how.max_interval_s)
    return changed(
        state,
        since=state.since or now,
        summaries=state.summaries + 1,
        total=state.total + fresh,
        next_at=now + timedelta(seconds=pause),
        thread_id=state.thread_id or _id(state, now),
    )


def summary(
    state: StormState,
    causes: Sequence[NotificationState],
    attached: Sequence[NotificationState],
    now: datetime,
    how: Storm,
    *,
    over: bool,
) -> Summary:
    """The storm in one notification: alerts without a known cause first, by their effects.

    Args:
        state: the storm, this summary counted.
        causes: alerts with no cause among the open ones.
        attached: alerts that follow from others.
        now: its time.
        how: the settings.
        over: whether it is the storm's last.
    """
    effects = Counter(notification.cause for notification in attached)
    first = sorted(
        causes, key=lambda s: (s.ended, -effects[s.incident_id], -RANK[s.severity], s.since)
    )
    rows = [line(s, s.kind) for s in first] + [line(s, s.kind, s.cause) for s in attached]
    return Summary(
        message_id=_id(state, now),
        thread_id=state.thread_id if state.summaries > 1 else "",
        kind="storm over" if over else "storm",
        severity=worst([row.severity for row in _open(rows) or rows]),
        headline=_headline(state, rows, over=over),
        sentences=tuple(_sentences(state, first, rows, dict(effects), over=over)),
        counts=_counts(rows),
        listed=how.listed,
        rows=tuple(rows),
        attached=dict(effects),
        at=now,
    )


def _open(rows: Sequence[Line]) -> list[Line]:
    """The alerts that have not ended."""
    return [row for row in rows if row.kind not in ENDINGS]


def _headline(state: StormState, rows: Sequence[Line], *, over: bool) -> str:
    """The summary's title: the number of alerts, items and machines, and the urgency."""
    if over:
        return f"{state.total} changes of alerts in all; no more summaries"
    fresh = _open(rows)
    gone = len(rows) - len(fresh)
    if not fresh:
        return f"{counted(gone, 'alert')} {_on(rows)} ended; no action needed"
    item, most = Counter(shown_name(row.series) for row in fresh).most_common(1)[0]
    alike = most == len(fresh)
    many = counted(len(fresh), f"{item} alert" if alike else "alert")
    mostly = "" if alike else f", {most} of them {item}"
    ended = f", and {gone} ended" if gone else ""
    return f"{many} {_on(fresh)}{mostly}{ended}; please look"


def _on(rows: Sequence[Line]) -> str:
    return f"on {counted(len({row.series.host for row in rows}), 'machine')}"


def _sentences(
    state: StormState,
    causes: Sequence[NotificationState],
    rows: Sequence[Line],
    effects: dict[str, int],
    *,
    over: bool,
) -> Iterator[str]:
    """Describe a storm: its alerts, severity and start, its causes, and the next summary."""
    fresh = _open(rows)
    gone = len(rows) - len(fresh)
    begins = [row.since for row in fresh] + ([state.since] if state.since else [])
    since = f"{min(begins):%H:%M:%S} UTC" if begins else "now"
    critical = sum(row.severity is Severity.CRITICAL for row in fresh)
    if fresh:
        yield f"{counted(len(fresh), 'alert')} since {since}, {critical} of them critical."
    elif not gone:
        yield "No more alerts came."
    if gone:
        yield f"{counted(gone, 'alert')} of which you were notified ended."
    if state.total > len(rows):
        yield f"The summaries since {since} told of {state.total} changes of alerts in all."
    if effects:
        worst_first = [cause for cause in causes if cause.incident_id in effects]
        named = [f"{subject(c.series)} ({effects[c.incident_id]})" for c in worst_first[:_NAMED]]
        more = len(worst_first) - len(named)
        rest = f" and {more} more" if more > 0 else ""
        yield (
            f"{sum(effects.values())} of them follow from {', '.join(named)}{rest}. "
            "Please look at these first."
        )
    elif fresh and not over:
        yield "No cause of many is known. Please look at the critical ones first."
    if over:
        yield "There are few enough now: the next alerts are notified group by group again."
    elif state.next_at is not None:
        yield (
            f"The next summary comes at {state.next_at:%H:%M:%S} UTC; until then there is no "
            "notice of single alerts. Every alert of this one is in the attached table."
        )


def _counts(rows: Sequence[Line]) -> tuple[tuple[str, int], ...]:
    found = Counter(f"{word(row)} {row.severity} {shown_name(row.series)}" for row in rows)
    most = found.most_common(_COUNTED)
    rest = len(rows) - sum(count for _, count in most)
    return (*most, ("others", rest)) if rest else tuple(most)


def _id(state: StormState, now: datetime) -> str:
    began = state.since or now
    return message_id(deterministic_id("storm", began.isoformat()), max(state.summaries, 1))
