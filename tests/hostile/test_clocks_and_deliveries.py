"""Clocks that change, counters that begin anew, samples that come late or twice: no faults.

Each is put through the whole engine as whole kinds: series that follow the clocks of a place whose
clocks change, counters that restart in every way, and any series of operators with disturbed
deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bench.operators import KINDS
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.contracts import AnomalyDetected
from shared.samples import from_rows

Row = tuple[str, str, str, int, float]
Floats = np.ndarray
_QUARTER_MS, _HOUR_MS, _DAY_MS = 900_000, 3_600_000, 86_400_000
_PLACE = ZoneInfo("Europe/Berlin")
_SPRING_MS = 1_774_746_000_000
"""2026-03-29 01:00 UTC, when 2 o'clock becomes 3 o'clock there."""
_AUTUMN_MS = 1_792_890_000_000
"""2026-10-25 01:00 UTC, when 3 o'clock becomes 2 o'clock again."""
_SERIES = 3


def _told(engine: Engine, batches: Iterable[list[Row]]) -> list[AnomalyDetected]:
    events = [event for rows in batches for event in engine.process(from_rows(rows))]
    return [event for event in events if isinstance(event, AnomalyDetected)]


def _hours_there(time_ms: Floats) -> Floats:
    """The clock's hours since a Monday's midnight, by the clocks of the place."""
    days = {int(at // _HOUR_MS): 0.0 for at in time_ms}
    for hour in days:
        moment = np.datetime64(hour * _HOUR_MS, "ms").astype("datetime64[s]").item()
        there = moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(_PLACE)
        days[hour] = there.weekday() * 24 + there.hour
    return np.array([days[int(at // _HOUR_MS)] + at % _HOUR_MS / _HOUR_MS for at in time_ms])


_BY_THE_CLOCK: dict[str, Callable[[Floats], Floats]] = {
    "office hours": lambda h: 5 + 60 * ((h < 120) & (h % 24 >= 8) & (h % 24 < 18)),
    "opening hours": lambda h: 10 + 30 * ((h % 24 >= 6) & (h % 24 < 22)),
    "job of the hour that is skipped": lambda h: 5 + 40 * ((h % 24 >= 2) & (h % 24 < 3)),
    "job of each morning": lambda h: 5 + 40 * ((h % 24 >= 5) & (h % 24 < 6)),
    "a smooth day": lambda h: 50 + 20 * np.sin(h * np.pi / 12),
    "a busy noon": lambda h: 10 + 50 * np.exp(-(((h % 24) - 12) ** 2) / 4),
}


@pytest.mark.parametrize("change_ms", [_SPRING_MS, _AUTUMN_MS], ids=["spring", "autumn"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_when_the_clocks_change_people_come_an_hour_later(change_ms: int, zone: str) -> None:
    times = change_ms + _QUARTER_MS * np.arange(-28 * 96, 14 * 96)
    hours = _hours_there(times)
    rng = np.random.default_rng(81)
    values = {
        (kind, one): maker(hours) + rng.normal(size=len(times))
        for kind, maker in _BY_THE_CLOCK.items()
        for one in range(_SERIES)
    }
    engine = Engine(EngineSettings(zone=zone, step_s=900, stale_after_s=1e9, silent_after_s=1e9))
    told = _told(
        engine,
        (
            [
                (f"m{one}", kind, "", int(at), course[point])
                for (kind, one), course in values.items()
            ]
            for point, at in enumerate(times)
        ),
    )
    after = [event for event in told if event.time_ms >= change_ms]
    soon = [event for event in after if event.time_ms < change_ms + 7 * _DAY_MS]
    by_kind = {
        kind: sum(event.series.item == kind for event in soon) / _SERIES for kind in _BY_THE_CLOCK
    }
    if zone != "UTC":
        # The hour that the clocks skip takes its job with it: that one is rightly missed.
        assert by_kind.pop("job of the hour that is skipped") <= 2, by_kind
        assert max(by_kind.values()) <= 1, by_kind
        assert sum(by_kind.values()) <= 3, by_kind
    else:
        # Who names no place is told of the change, and not each day.
        assert max(by_kind.values()) <= 3, by_kind
        assert len(after) - len(soon) <= len(values), after


def _restarting(rng: np.random.Generator, n: int, times: Iterable[int], first: float) -> Floats:
    grown = (60 * (100 + 5 * rng.normal(size=n))).cumsum() + 1e9
    for at in times:
        grown[at:] += first - grown[at]
    return grown


def _restarts(rng: np.random.Generator, n: int) -> dict[str, Floats]:
    """Counters of 100 a second whose process began anew at several moments."""
    pairs = [at + again for at in range(300, n, 400) for again in (0, 1, 3)]
    return {
        "now and then": _restarting(rng, n, np.flatnonzero(rng.random(n) < 0.01), 0.0),
        "each night": _restarting(rng, n, range(700, n, 1440), 0.0),
        "in a crash loop": _restarting(rng, n, range(900, 1000, 2), 0.0),
        "with its old half": _restarting(rng, n, [n // 2], 5e8),
        "twice in a row": _restarting(rng, n, pairs, 3.0),
        "at 32 bits": _restarting(rng, n, [], 0.0) % 2**32,
        "by rounding": np.floor(_restarting(rng, n, [400, 800], 0.0)),
    }


def test_a_counter_that_begins_anew_is_no_fault_and_hides_none() -> None:
    n, fault = 2 * 1440, 2 * 1440 - 120
    counters = _restarts(np.random.default_rng(82), n)
    for course in counters.values():
        course[fault:] += 60 * 400 * np.arange(1, n - fault + 1)
    engine = Engine(EngineSettings(silent_after_s=1e9))
    begin = _SPRING_MS - 7 * _DAY_MS
    told = _told(
        engine,
        (
            [
                ("m1", f"{kind}_total", "", begin + 60_000 * at, float(course[at]))
                for kind, course in counters.items()
            ]
            for at in range(n)
        ),
    )
    early = [event for event in told if event.time_ms < begin + 60_000 * fault]
    assert all(0 <= event.value < 200 for event in early), early
    assert len(early) <= len(counters) // 2, early
    late = {event.series.item for event in told if event.time_ms >= begin + 60_000 * fault}
    assert late == {f"{kind}_total" for kind in counters}


def _rows_of_operators(seed: int, n: int) -> list[list[Row]]:
    days = np.arange(n) / 96
    courses = {
        kind: maker(np.random.default_rng([seed, at]), days)
        for at, (kind, maker) in enumerate(KINDS.items())
    }
    return [
        [
            ("m1", kind, "", _SPRING_MS + _QUARTER_MS * at, float(course[at]))
            for kind, course in courses.items()
        ]
        for at in range(n)
    ]


def _engine() -> Engine:
    return Engine(EngineSettings(step_s=900, stale_after_s=1e9, silent_after_s=1e9))


def test_samples_sent_twice_or_hours_late_change_no_verdict_on_any_kind() -> None:
    clean = _rows_of_operators(83, 10 * 96)
    rng = np.random.default_rng(84)
    disturbed = []
    for at, rows in enumerate(clean):
        again = [row for row in rows if rng.random() < 0.3]
        late = [
            clean[at - back][place]
            for place in range(len(rows))
            if (back := int(rng.integers(1, 40))) <= at
        ]
        other = [(*row[:4], row[4] + 1e6) for row in late if rng.random() < 0.3]
        sent = [*rows, *again, *late, *other]
        disturbed += [rows, [sent[place] for place in rng.permutation(len(sent))]]
    assert _told(_engine(), disturbed) == (expected := _told(_engine(), clean))
    assert expected, "nothing was told of these, so nothing was compared"


def test_what_comes_too_late_leaves_gaps_and_no_alarms() -> None:
    rng = np.random.default_rng(85)
    weeks = 3
    clean = _rows_of_operators(86, weeks * 7 * 96)
    kept, held = [], []
    for rows in clean:
        late = {place for place in range(len(rows)) if rng.random() < 0.1}
        kept.append([row for place, row in enumerate(rows) if place not in late] + held)
        held = [rows[place] for place in late]
    before, now = len(_told(_engine(), clean)), len(_told(_engine(), kept))
    assert now <= before + weeks * len(KINDS) / 7, (before, now)
