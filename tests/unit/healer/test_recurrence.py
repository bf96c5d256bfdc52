"""Recurrence rules give what dateutil gives, in a number of steps that no rule can raise."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.healer.notify import recurrence
from services.healer.notify.silences import Recurrence

ZONE = ZoneInfo("UTC")
FIRST = datetime(2024, 1, 31, 22, 30)
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(st.integers(low, high).filter(bool), min_size=1, max_size=3, unique=True).map(
        lambda found: ",".join(map(str, found))
    )


def plain_days() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True).map(",".join)


def numbered_days() -> st.SearchStrategy[str]:
    # With plain and numbered days together dateutil takes what is both, the RFC what is either.
    one = st.tuples(st.sampled_from(["1", "-1", "2", "+4", "-5"]), st.sampled_from(DAYS))
    numbered = st.lists(one.map("".join), min_size=1, max_size=3, unique=True).map(",".join)
    return st.one_of(plain_days(), numbered)


PARTS = {
    "DAILY": {"BYMONTH": numbers(1, 12), "BYMONTHDAY": numbers(-31, 31), "BYDAY": plain_days()},
    "WEEKLY": {"BYMONTH": numbers(1, 12), "BYDAY": plain_days(), "WKST": st.sampled_from(DAYS)},
    "MONTHLY": {
        "BYMONTH": numbers(1, 12),
        "BYMONTHDAY": numbers(-31, 31),
        "BYDAY": numbered_days(),
        "BYSETPOS": numbers(-3, 3),
    },
    "YEARLY": {
        "BYMONTH": numbers(1, 12),
        "BYMONTHDAY": numbers(-31, 31),
        "BYYEARDAY": numbers(-366, 366),
        "BYDAY": numbered_days(),
        "BYSETPOS": numbers(-3, 3),
    },
}


@st.composite
def rules(draw: st.DrawFn) -> str:
    freq = draw(st.sampled_from(sorted(PARTS)))
    parts = [f"FREQ={freq}"]
    for name, values in PARTS[freq].items():
        if draw(st.booleans()):
            parts.append(f"{name}={draw(values)}")
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    if draw(st.booleans()):
        parts.append(f"BYHOUR={draw(numbers(1, 23))}")
    ending = draw(st.sampled_from(["", "COUNT=1", "COUNT=7", "UNTIL=20260301T120000"]))
    return ";".join([*parts, ending] if ending else parts)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(rules(), st.integers(0, 700))
def test_a_rule_gives_the_starts_that_dateutil_gives(rule: str, offset: int) -> None:
    end = FIRST + timedelta(days=1500)
    try:
        found = recurrence.bounded(rule, FIRST, ZONE)
    except ValueError as error:
        found, why = None, str(error)
    if found is None:
        assume("BYSETPOS needs" not in why)  # dateutil takes it, the RFC does not
        assert "no date within" in why
        without_end = [part for part in rule.split(";") if not part.startswith("COUNT")]
        ending = [] if "UNTIL" in rule else ["UNTIL=20390101T000000"]
        assert next(iter(rrulestr(";".join(without_end + ending), dtstart=FIRST)), None) is None
        return
    begin = FIRST.date() + timedelta(days=offset)
    mine = list(islice((s for s in recurrence.walk(found, begin) if s <= end), 200))
    theirs = takewhile(lambda s: s <= end, rrulestr(rule, dtstart=FIRST))
    assert mine == list(islice((s for s in theirs if s.date() >= begin), 200))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "no date within"),
        ("FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=5MO", "no date within"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYMONTH=6", "no date within"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL must be"),
        ("FREQ=DAILY;FREQ=SECONDLY", "FREQ stands twice"),
        ("FREQ=SECONDLY", "one FREQ of"),
        ("FREQ=DAILY;BYHOUR=0,1,2,3,4;BYMINUTE=" + ",".join(map(str, range(60))), "more than 96"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20260101", "exclude each other"),
        ("FREQ=DAILY;COUNT=0", "COUNT must be"),
        ("FREQ=DAILY;COUNT=99999999999999", "COUNT must be"),
        ("FREQ=WEEKLY;BYDAY=1MO", "numbered BYDAY"),
        ("FREQ=WEEKLY;BYMONTHDAY=3", "does not go with"),
        ("FREQ=MONTHLY;BYYEARDAY=3", "needs FREQ=YEARLY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "another BY part"),
        ("FREQ=YEARLY;BYEASTER=0", "has no BYEASTER"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL must be"),
        ("FREQ=DAILY;BYMONTH=13", "BYMONTH must be"),
        ("FREQ=DAILY;BYMONTHDAY=0", "has no 0"),
        ("", "is not NAME=VALUE"),
        ("FREQ=DAILY;;BYMONTH=1", "is not NAME=VALUE"),
        ("FREQ", "is not NAME=VALUE"),
    ],
)
def test_a_rule_that_is_none_or_never_opens_is_refused_with_the_reason(rule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        recurrence.bounded(rule, FIRST, ZONE)


def test_an_end_in_universal_time_is_understood_in_the_windows_own_zone() -> None:
    window = Recurrence(
        rule="RRULE:FREQ=DAILY;UNTIL=20240103T210000Z",
        first=datetime(2024, 1, 1, 22, 30),
        timezone="Europe/Berlin",
        duration_s=60,
    )
    found = window.between(datetime(2024, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
    assert [start.day for start, _ in found] == [1, 2]


def test_a_first_start_within_a_second_is_a_start() -> None:
    first = datetime(2024, 1, 31, 22, 30, 15, 123456)
    window = Recurrence(rule="FREQ=DAILY", first=first, duration_s=60)
    assert window.open_at(first.replace(tzinfo=UTC)) is not None


def test_an_end_that_is_a_date_includes_that_day() -> None:
    rule = recurrence.bounded("FREQ=DAILY;UNTIL=20240202", FIRST, ZONE)
    assert len(list(recurrence.walk(rule, FIRST.date()))) == 3


def test_a_week_number_alone_means_the_weekday_of_the_first_start() -> None:
    rule = recurrence.bounded("FREQ=YEARLY;BYWEEKNO=20", FIRST, ZONE)  # 31 January 2024: Wednesday
    assert [s.date() for s in islice(recurrence.walk(rule, FIRST.date()), 2)] == [
        date(2024, 5, 15),
        date(2025, 5, 14),
    ]


def test_a_window_far_in_the_future_or_without_an_end_costs_no_more() -> None:
    window = Recurrence(rule="FREQ=DAILY", first=FIRST, duration_s=60)
    assert window.open_at(datetime(8999, 12, 30, 22, 30, tzinfo=UTC)) is not None
    ever = window.between(datetime(8998, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), 3)
    assert len(list(ever)) == 3


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Kiritimati", "Etc/GMT+12", "UTC"])
@pytest.mark.parametrize("until", ["99991231T235959Z", "99991231", "00010101T000000Z"])
def test_the_ends_of_the_calendar_are_days_like_others_in_every_zone(until: str, zone: str) -> None:
    rule = f"FREQ=DAILY;UNTIL={until}"
    if until.startswith("0001"):
        with pytest.raises(ValueError, match="it gives no date"):
            recurrence.bounded(rule, FIRST, ZoneInfo(zone))
        return
    window = Recurrence(rule=rule, first=FIRST, timezone=zone, duration_s=60)
    assert window.open_at(FIRST.replace(tzinfo=ZoneInfo(zone))) is not None
    last = datetime.max.replace(tzinfo=UTC)
    assert list(window.between(last, last)) == []


BERLIN = ZoneInfo("Europe/Berlin")


def mute(rule: str, first: str, **length: float) -> Recurrence:
    return Recurrence.model_validate(
        {
            "rule": rule,
            "first": first,
            "timezone": "Europe/Berlin",
            "duration_s": timedelta(**length).total_seconds(),
        }
    )


@given(st.dates(date(2026, 1, 1), date(2027, 12, 31)), st.integers(1, 7))
def test_a_window_of_whole_days_lasts_until_the_same_time_of_the_day(day: date, days: int) -> None:
    window = mute("FREQ=DAILY;INTERVAL=1000;COUNT=1", f"{day}T00:00", days=days)
    ((begin, end),) = window.between(
        datetime(2025, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
    )
    assert begin.astimezone(BERLIN).replace(tzinfo=None) == datetime.combine(
        day, datetime.min.time()
    )
    midnight = datetime.combine(day + timedelta(days=days), datetime.min.time())
    assert end.astimezone(BERLIN).replace(tzinfo=None) == midnight
    assert window.open_at(end - timedelta(seconds=1)) == (begin, end)
    assert window.open_at(end) is None


def test_every_day_muted_is_muted_also_in_the_hour_that_comes_twice() -> None:
    always = mute("FREQ=DAILY", "2026-01-01T00:00", days=1)
    moment = datetime(2026, 10, 25, tzinfo=UTC)
    for _ in range(48):
        moment += timedelta(minutes=30)
        assert always.open_at(moment) is not None


@pytest.mark.parametrize(
    ("rule", "hours", "end"),
    [
        ("FREQ=DAILY;BYHOUR=0,1,2,3", 2, datetime(2026, 1, 5, 4, tzinfo=UTC)),
        ("FREQ=DAILY;BYHOUR=0,2,4", 2, datetime(2026, 1, 5, 5, tzinfo=UTC)),
        ("FREQ=DAILY;BYHOUR=0,3", 2, datetime(2026, 1, 5, 1, tzinfo=UTC)),
        ("FREQ=WEEKLY;BYDAY=MO,TU", 24, datetime(2026, 1, 6, 23, tzinfo=UTC)),
    ],
)
def test_windows_without_a_gap_are_open_until_the_last_of_them_ends(
    rule: str, hours: int, end: datetime
) -> None:
    window = mute(rule, "2026-01-01T00:00", hours=hours)
    assert window.open_until(datetime(2026, 1, 4, 23, 30, tzinfo=UTC)) == end
    assert window.open_until(end) is None
