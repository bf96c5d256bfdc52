"""Parses recurrence rules of iCalendar (RFC 5545, section 3.3.10)."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, time
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

MAX_STARTS_A_DAY = 96
MAX_COUNT = 10_000
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"([0-9]{8})(?:T([0-9]{6})(Z)?)?")
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
"""The least and the largest value of each part; True if it may also count from the end."""


class Rule(NamedTuple):
    """The parts of a rule; parts that the rule does not name are empty."""

    freq: str
    interval: int
    occurrences: int
    """The number of starts in all; 0: no end by number."""
    until: datetime | None
    """Local time, inclusive."""
    first: datetime
    weekdays: tuple[tuple[int, int], ...]
    """The number within the period (0: each) and the weekday (Monday is 0)."""
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
    freq = _frequency(parts)
    interval = _number("INTERVAL", parts.pop("INTERVAL", "1"), 1, 1000)
    count, until = _end(parts, zone)
    week_start = _week_start(parts)
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
            until=until,
            first=first,
            weekdays=weekdays,
            month_days=numbers["BYMONTHDAY"],
            year_days=numbers["BYYEARDAY"],
            weeks=numbers["BYWEEKNO"],
            months=numbers["BYMONTH"],
            positions=numbers["BYSETPOS"],
            times=_times(numbers, first),
            week_start=week_start,
        )
    )


def _frequency(parts: dict[str, str]) -> str:
    """Take the frequency from ``parts``."""
    freq = parts.pop("FREQ", "")
    if freq not in _FREQUENCIES:
        raise ValueError(f"it needs one FREQ of {', '.join(_FREQUENCIES)}")
    return freq


def _week_start(parts: dict[str, str]) -> int:
    """Take the first day of the week from ``parts``; Monday is 0."""
    day = parts.pop("WKST", "MO")
    if day not in _WEEKDAYS:
        raise ValueError(f"WKST must be one of {', '.join(_WEEKDAYS)}")
    return _WEEKDAYS.index(day)


def _end(parts: dict[str, str], zone: ZoneInfo) -> tuple[int, datetime | None]:
    """Take the end of the starts from ``parts``: their number, 0 for any, or their last moment."""
    if "COUNT" in parts and "UNTIL" in parts:
        raise ValueError("COUNT and UNTIL exclude each other")
    counted, until = parts.pop("COUNT", None), parts.pop("UNTIL", "")
    count = 0 if counted is None else _number("COUNT", counted, 1, MAX_COUNT)
    return count, _until(until, zone) if until else None


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
        # Calendars write the last second of the year 9999 forever: no zone leads out of it.
        with suppress(OverflowError):
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
    """Take from the first start what the rule does not say of the day."""
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
