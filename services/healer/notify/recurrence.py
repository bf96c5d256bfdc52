"""Recurrence rules of iCalendar (RFC 5545, section 3.3.10), by day and longer, in bounded time.

A general library walks a rule from its first start and may walk forever where a rule never
gives a date. Here only the periods that overlap the asked span are looked at, whatever the rule
says, so a rule that a person sends costs a bounded number of steps.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.healer.notify.recurrence_rule import Rule, parsed

HORIZON = timedelta(days=40 * 366)
"""The time for which a rule is followed: every weekday is a 29 February within 40 years."""
_DAY = timedelta(days=1)
LAST = date(8999, 12, 31)
"""The last day that is searched, so that no sum of dates and intervals leaves the calendar."""


@lru_cache(maxsize=256)
def bounded(text: str, first: datetime, zone: ZoneInfo) -> Rule:
    """The rule with its ``COUNT`` turned into the last start, so that no later call counts again.

    Raises:
        ValueError: as ``parsed``; also where it gives no start within ``HORIZON``.
    """
    rule = parsed(text, first, zone)
    last, number = None, 0
    for start in _walk(rule, first.date(), (first + HORIZON).date()):
        last, number = start, number + 1
        if number >= max(rule.occurrences, 1):
            break
    if last is None:
        raise ValueError("it gives no date within 40 years of its first start")
    return rule._replace(occurrences=0, until=last) if rule.occurrences else rule


@lru_cache(maxsize=4096)
def starts(rule: Rule, begin: date, end: date) -> tuple[datetime, ...]:
    """Local starts from day ``begin`` to day ``end``, both included, in order."""
    return tuple(start for start in _walk(rule, begin, end) if begin <= start.date() <= end)


def walk(rule: Rule, begin: date) -> Iterator[datetime]:
    """Local starts from day ``begin`` on, in order, as far as ``HORIZON``."""
    end = date.fromordinal(min(LAST.toordinal(), begin.toordinal() + HORIZON.days))
    return (start for start in _walk(rule, begin, end) if start.date() >= begin)


def _walk(rule: Rule, begin: date, end: date) -> Iterator[datetime]:
    """Starts of the periods that overlap the span, never before the rule's first start."""
    begin, end = max(begin, rule.first.date()), min(end, LAST)
    if rule.until is not None:
        end = min(end, rule.until.date())
    for days in _PERIODS[rule.freq](rule, begin, end):
        found = [datetime.combine(d, t) for d in days if _fits(rule, d) for t in rule.times]
        for start in _at_positions(found, rule.positions) if rule.positions else found:
            if rule.until is not None and start > rule.until:
                return
            if start >= rule.first:
                yield start


def _at_positions(found: list[datetime], positions: tuple[int, ...]) -> list[datetime]:
    size = len(found)
    chosen = {p - 1 if p > 0 else size + p for p in positions}
    return [found[place] for place in sorted(chosen) if 0 <= place < size]


def _days(rule: Rule, begin: date, end: date) -> Iterator[list[date]]:
    first = rule.first.date()
    gone = (begin - first).days
    day = first + timedelta(days=-(-gone // rule.interval) * rule.interval)
    while day <= end:
        yield [day]
        day += rule.interval * _DAY


def _weeks(rule: Rule, begin: date, end: date) -> Iterator[list[date]]:
    origin = _week_begin(rule.first.date(), rule.week_start)
    gone = (_week_begin(begin, rule.week_start) - origin).days // 7
    week = origin + timedelta(weeks=-(-gone // rule.interval) * rule.interval)
    while week <= end:
        yield [week + number * _DAY for number in range(7)]
        week += timedelta(weeks=rule.interval)


def _months(rule: Rule, begin: date, end: date) -> Iterator[list[date]]:
    origin = rule.first.year * 12 + rule.first.month - 1
    gone = begin.year * 12 + begin.month - 1 - origin
    month = origin - (-gone // rule.interval) * rule.interval
    while month <= end.year * 12 + end.month - 1:
        year, number = divmod(month, 12)
        length = calendar.monthrange(year, number + 1)[1]
        yield [date(year, number + 1, day) for day in range(1, length + 1)]
        month += rule.interval


def _years(rule: Rule, begin: date, end: date) -> Iterator[list[date]]:
    gone = begin.year - rule.first.year
    year = rule.first.year - (-gone // rule.interval) * rule.interval
    while year <= end.year:
        january = date(year, 1, 1)
        yield [january + day * _DAY for day in range(365 + calendar.isleap(year))]
        year += rule.interval


_PERIODS: dict[str, Callable[[Rule, date, date], Iterator[list[date]]]] = {
    "DAILY": _days,
    "WEEKLY": _weeks,
    "MONTHLY": _months,
    "YEARLY": _years,
}


def _fits(rule: Rule, day: date) -> bool:
    if rule.months and day.month not in rule.months:
        return False
    if rule.month_days and not _counted(
        day.day, calendar.monthrange(day.year, day.month)[1], rule.month_days
    ):
        return False
    length = 365 + calendar.isleap(day.year)
    if rule.year_days and not _counted(day.timetuple().tm_yday, length, rule.year_days):
        return False
    if rule.weeks and not _counted(*_week_of(day, rule.week_start), rule.weeks):
        return False
    return not rule.weekdays or any(_weekday_fits(rule, day, *each) for each in rule.weekdays)


def _counted(number: int, size: int, wanted: tuple[int, ...]) -> bool:
    """Return whether the number is wanted, counted from the beginning or from the end."""
    return number in wanted or number - size - 1 in wanted


def _weekday_fits(rule: Rule, day: date, which: int, weekday: int) -> bool:
    if day.weekday() != weekday:
        return False
    if not which:
        return True
    if rule.freq == "MONTHLY" or rule.months:
        number, size = day.day, calendar.monthrange(day.year, day.month)[1]
    else:
        number, size = day.timetuple().tm_yday, 365 + calendar.isleap(day.year)
    return which == (number - 1) // 7 + 1 or which == -((size - number) // 7 + 1)


def _week_begin(day: date, week_start: int) -> date:
    return day - (day.weekday() - week_start) % 7 * _DAY


def _week_of(day: date, week_start: int) -> tuple[int, int]:
    """The week's number and how many its year has; a week is the year's that has four of its days.

    Days of a week that counts for the year before or after belong to no week of their own year.
    """
    middle = _week_begin(day, week_start) + 3 * _DAY
    if middle.year != day.year:
        return 0, 0
    last = _week_begin(date(day.year, 12, 28), week_start) + 3 * _DAY
    if (last + 7 * _DAY).year == day.year:
        last += 7 * _DAY
    return (middle.timetuple().tm_yday - 1) // 7 + 1, (last.timetuple().tm_yday - 1) // 7 + 1
