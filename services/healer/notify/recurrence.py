"""Recurrence rules of iCalendar (RFC 5545, section 3.3.10), by day and longer, in bounded time.

A general library walks a rule from its first start and may walk for ever where a rule never
gives a date. Here only the periods that overlap the asked span are looked at, whatever the rule
says, so a rule that a person sends costs a bounded number of steps.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=40 * 366)
"""How far ahead a rule is followed: each weekday falls on each 29 February within 40 years."""
MAX_STARTS_A_DAY = 96
MAX_COUNT = 10_000
_DAY = timedelta(days=1)
_LAST = date(8999, 12, 31)
"""Nothing is looked for later, so that no sum of dates and intervals leaves the calendar."""
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKDAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"(\d{8})(?:T(\d{6})(Z)?)?")
_NUMBERS = {
    "BYSECOND": (0, 59, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}
"""Least and largest value of each part, and whether it also counts from the end."""


class Rule(NamedTuple):
    """A rule's parts; empty where the rule does not name them."""

    freq: str
    interval: int
    occurrences: int
    """How many starts there are in all; 0: no end by number."""
    until: datetime | None
    """Local time, inclusive."""
    first: datetime
    weekdays: tuple[tuple[int, int], ...]
    """Which one of the period (0: each) and the weekday, Monday 0."""
    month_days: tuple[int, ...]
    year_days: tuple[int, ...]
    weeks: tuple[int, ...]
    months: tuple[int, ...]
    positions: tuple[int, ...]
    times: tuple[time, ...]
    week_start: int


def parsed(text: str, first: datetime, zone: ZoneInfo) -> Rule:
    """The rule, with what RFC 5545 takes from its first start filled in.

    Args:
        text: e.g. ``FREQ=MONTHLY;BYDAY=-1SU``; a leading ``RRULE:`` is allowed.
        first: the first start, local time.
        zone: in which an ``UNTIL`` of universal time is read.

    Raises:
        ValueError: naming what the RFC does not allow, or what would cost without bound.
    """
    first = first.replace(microsecond=0)  # the RFC counts in seconds
    parts = _parts(text)
    freq = parts.pop("FREQ", "")
    if freq not in _FREQUENCIES:
        raise ValueError(f"it needs one FREQ of {', '.join(_FREQUENCIES)}")
    if "COUNT" in parts and "UNTIL" in parts:
        raise ValueError("COUNT and UNTIL exclude each other")
    interval = _number("INTERVAL", parts.pop("INTERVAL", "1"), 1, 1000)
    counted = parts.pop("COUNT", None)
    count = 0 if counted is None else _number("COUNT", counted, 1, MAX_COUNT)
    until = parts.pop("UNTIL", "")
    week_start = parts.pop("WKST", "MO")
    if week_start not in _WEEKDAYS:
        raise ValueError(f"WKST must be one of {', '.join(_WEEKDAYS)}")
    weekdays = _weekdays(parts.pop("BYDAY", ""), freq, weeks="BYWEEKNO" in parts)
    numbers = {name: _numbers(name, parts.pop(name, "")) for name in _NUMBERS}
    if parts:
        raise ValueError(f"RFC 5545 has no {', '.join(sorted(parts))}")
    others = any(found for name, found in numbers.items() if name != "BYSETPOS")
    _check_combinations(freq, numbers, any_by=bool(weekdays) or others)
    return _completed(
        Rule(
            freq=freq,
            interval=interval,
            occurrences=count,
            until=_until(until, zone) if until else None,
            first=first,
            weekdays=weekdays,
            month_days=numbers["BYMONTHDAY"],
            year_days=numbers["BYYEARDAY"],
            weeks=numbers["BYWEEKNO"],
            months=numbers["BYMONTH"],
            positions=numbers["BYSETPOS"],
            times=_times(numbers, first),
            week_start=_WEEKDAYS.index(week_start),
        )
    )


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
    end = date.fromordinal(min(_LAST.toordinal(), begin.toordinal() + HORIZON.days))
    return (start for start in _walk(rule, begin, end) if start.date() >= begin)


def _parts(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").rstrip(";").split(";"):
        name, sign, value = part.partition("=")
        if not sign or not value:
            raise ValueError(f"{part!r} is not NAME=VALUE")
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = value
    return found


def _number(name: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    least, most, from_end = _NUMBERS[name]
    found = set()
    for each in text.split(",") if text else ():
        number = _number(name, each, -most if from_end else least, most)
        if from_end and number == 0:
            raise ValueError(f"{name} has no 0")
        found.add(number)
    return tuple(sorted(found))


def _weekdays(text: str, freq: str, *, weeks: bool) -> tuple[tuple[int, int], ...]:
    found = set()
    for each in text.split(",") if text else ():
        match = _WEEKDAY.fullmatch(each)
        which = int(match[1] or 0) if match else 0
        most = 5 if freq == "MONTHLY" else 53
        if match is None or abs(which) > most or (match[1] and not which):
            raise ValueError(f"BYDAY has no {each!r}")
        if which and (freq not in {"MONTHLY", "YEARLY"} or weeks):
            raise ValueError("a numbered BYDAY needs FREQ=MONTHLY, or YEARLY without BYWEEKNO")
        found.add((which, _WEEKDAYS.index(match[2])))
    return tuple(sorted(found))


def _check_combinations(freq: str, numbers: dict[str, tuple[int, ...]], *, any_by: bool) -> None:
    if numbers["BYWEEKNO"] and freq != "YEARLY":
        raise ValueError("BYWEEKNO needs FREQ=YEARLY")
    if numbers["BYYEARDAY"] and freq != "YEARLY":
        raise ValueError("BYYEARDAY needs FREQ=YEARLY")
    if numbers["BYMONTHDAY"] and freq == "WEEKLY":
        raise ValueError("BYMONTHDAY does not go with FREQ=WEEKLY")
    if numbers["BYSETPOS"] and not any_by:
        raise ValueError("BYSETPOS needs another BY part")


def _until(text: str, zone: ZoneInfo) -> datetime:
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise ValueError("UNTIL must be a date, or a date and time such as 20261231T235959Z")
    if match[2] is None:
        return datetime.combine(datetime.strptime(match[1], "%Y%m%d").date(), time.max)  # noqa: DTZ007 - a date has no zone
    moment = datetime.strptime(match[1] + match[2], "%Y%m%d%H%M%S")  # noqa: DTZ007 - local time
    if match[3]:
        moment = moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(zone).replace(tzinfo=None)
    return moment


def _times(numbers: dict[str, tuple[int, ...]], first: datetime) -> tuple[time, ...]:
    hours = numbers["BYHOUR"] or (first.hour,)
    minutes = numbers["BYMINUTE"] or (first.minute,)
    seconds = numbers["BYSECOND"] or (first.second,)
    if len(hours) * len(minutes) * len(seconds) > MAX_STARTS_A_DAY:
        raise ValueError(f"more than {MAX_STARTS_A_DAY} starts a day")
    return tuple(time(*each) for each in product(hours, minutes, seconds))


def _completed(rule: Rule) -> Rule:
    """What the rule does not say of the day comes from its first start."""
    if rule.weeks and not (rule.weekdays or rule.month_days or rule.year_days):
        return rule._replace(weekdays=((0, rule.first.weekday()),))
    if rule.weekdays or rule.month_days or rule.year_days or rule.weeks:
        return rule
    if rule.freq == "WEEKLY":
        return rule._replace(weekdays=((0, rule.first.weekday()),))
    if rule.freq == "MONTHLY":
        return rule._replace(month_days=(rule.first.day,))
    if rule.freq == "YEARLY":
        months = rule.months or (rule.first.month,)
        return rule._replace(months=months, month_days=(rule.first.day,))
    return rule


def _walk(rule: Rule, begin: date, end: date) -> Iterator[datetime]:
    """Starts of the periods that overlap the span, never before the rule's first start."""
    begin, end = max(begin, rule.first.date()), min(end, _LAST)
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
    """Whether the number is wanted, counted from the beginning or from the end."""
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
