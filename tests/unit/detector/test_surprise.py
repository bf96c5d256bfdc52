"""The default detector: rarities by hand, one telling an onset, a threshold from a budget."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import numpy as np
import pytest

from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.columns import Columns
from shared.contracts import AnomalyDetected
from shared.contracts.alerts import AnomalyKind
from shared.samples import from_rows

_MINUTE, _HOUR_MS = 60_000, 3_600_000


def _wave(at: int) -> float:
    return 100 + (at * 7919 % 13) / 13


def _kept(sizes: list[float]) -> np.ndarray:
    from services.detector.detectors.surprise_kernel import insert

    row, held = np.full(32, np.nan, dtype=np.float32), 0
    for size in sizes:
        held = insert(row, 0, held, 32, size)
    return row


def test_the_largest_distances_are_kept_in_order() -> None:
    assert _kept([3.0, 1.0, 2.0, 2.0])[:4].tolist() == [3.0, 2.0, 2.0, 1.0]
    assert _kept([float(n) for n in range(40)]).tolist() == [float(n) for n in range(39, 7, -1)]


def test_rarity_is_minus_the_logarithm_of_the_share_of_points_as_far_out() -> None:
    from services.detector.detectors.surprise_kernel import rarity

    row = _kept([float(n) for n in range(1, 101)])

    # Five of 100 points are at least 96: ln(100/5.5).
    assert rarity(row, 0, 32, 96.0, math.log(100)) == pytest.approx(math.log(100 / 5.5))
    # Below the 32 that are kept (69 to 100) it falls in proportion: half of ln(100/32.5).
    assert rarity(row, 0, 32, 34.5, math.log(100)) == pytest.approx(math.log(100 / 32.5) / 2)


def test_beyond_the_largest_a_pareto_tail_goes_on() -> None:
    from services.detector.detectors.surprise_kernel import rarity

    row = _kept([float(n) for n in range(1, 101)])
    hill = sum(math.log(100 - i) - math.log(80) for i in range(20)) / 20
    index = max(hill, 0.15)

    found = rarity(row, 0, 32, 110.0, math.log(100))

    assert found == pytest.approx(math.log(100) + 0.7 + math.log(1.1) / index, rel=1e-6)
    assert rarity(row, 0, 32, 1e9, math.log(100)) == pytest.approx(math.log(100) + 4.7)


def test_values_are_remembered_until_the_bank_is_full_and_then_thinned_out() -> None:
    from services.detector.detectors.surprise_kernel import nearest, remember

    row, held, eps = np.full(8, np.nan, dtype=np.float32), 0, 0.0
    for value in (1.0, 2.0, 2.0, 4.0, 8.0):
        distance, place = nearest(row, 0, held, value)
        held, eps = remember(row, 0, held, 4, eps, value, distance, place)

    # 1, 2, 4 and 8 are apart; the second 2 is known.
    assert row[:held].tolist() == [1.0, 2.0, 4.0, 8.0]
    distance, place = nearest(row, 0, held, 3.0)
    assert (distance, place) == (1.0, 2)
    held, eps = remember(row, 0, held, 4, eps, 6.0, *nearest(row, 0, held, 6.0))
    # Full: (8 - 1) * 0.5 / 4 becomes the least distance, so 2 stays beside 1 only if farther.
    assert eps == pytest.approx(0.875)
    assert held == 4


def _tops() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from services.detector.detectors import departure_kernel as of

    pace = np.zeros(of.PACE, dtype=np.float32)
    tally = np.zeros(of.TALLY, dtype=np.int32)
    return pace, tally, np.zeros(of.KEEPS, dtype=np.int16)


def test_the_threshold_is_what_was_reached_four_times_as_often_and_a_quarter_of_it() -> None:
    from services.detector.detectors import departure_blocks as blocks
    from services.detector.detectors import departure_kernel as of

    pace, tally, tops = _tops()
    pace[of.WEEKS], tally[of.BLOCKS] = 0.8, of.TAIL_BLOCKS
    young = blocks.TRUST_BLOCKS / (of.TAIL_BLOCKS + blocks.TRUST_BLOCKS)
    for nats in range(1, 13):
        blocks.insert(tops, of.RANKED, of.PEAKS, tally[of.HELD], nats * 256)
        tally[of.HELD] += 1

    def found(weekly: float) -> float:
        return blocks.base(pace, tally, tops, 0, weekly, _HOUR_MS) + 1.15 * young

    # 0.5 a week allow 0.4 in 0.8 weeks: the fifth largest of 1 to 12 is 8.
    assert found(0.5) == pytest.approx(8 + math.log(5 / 0.4), abs=0.01)
    assert found(0.05) > found(0.5)
    # The largest ones, which may have been faults, do not move it.
    tops[of.RANKED] = 30_000
    assert found(0.5) == pytest.approx(8 + math.log(5 / 0.4), abs=0.01)


def test_once_tails_are_known_each_group_has_its_share_of_the_budget() -> None:
    from services.detector.detectors import departure_blocks as blocks
    from services.detector.detectors import departure_kernel as of

    pace, tally, tops = _tops()
    pace[of.WEEKS], tally[of.BLOCKS], tally[of.HELD] = 0.8, 1_000_000_000, of.PEAKS
    # The same rarities in both groups, of an exponential tail whose mean is one nat.
    for rank in range(of.PEAKS):
        code = round((3 + math.log(12 / (rank + 1))) * 256)
        tops[of.RANKED + rank] = tops[of.RANKED + of.PEAKS + rank] = code
    first, second = (blocks.base(pace, tally, tops, group, 0.5, _HOUR_MS) for group in (0, 1))
    assert first == second == pytest.approx(3 + math.log(12 / 0.2), abs=0.3)
    # A heavier tail of single points leaves the threshold of what lasts where it is.
    for rank in range(of.PEAKS):
        tops[of.RANKED + rank] *= 2
    assert blocks.base(pace, tally, tops, 0, 0.5, _HOUR_MS) > first + 3
    assert blocks.base(pace, tally, tops, 1, 0.5, _HOUR_MS) == second


def test_a_heavy_tail_is_told_by_its_ranks_once_a_tenth_of_the_blocks_is_kept() -> None:
    from services.detector.detectors import departure_blocks as blocks
    from services.detector.detectors import departure_kernel as of

    tops = np.zeros(of.KEEPS, dtype=np.int16)
    # Ranked rarities of an exponential tail whose mean is two nats.
    for rank in range(of.PEAKS):
        tops[of.RANKED + rank] = round(2 * (3 + math.log(of.PEAKS / (rank + 1))) * 256)

    def slope(known: int) -> float:
        return blocks.slope(tops, of.RANKED, of.PEAKS, known)

    assert slope(100) == 1.0
    assert 1.0 < slope(150) < slope(200)
    # Eleven distances of nearly two nats, drawn towards one by six.
    assert slope(10_000) == pytest.approx(1.55, abs=0.1)


def test_every_alarm_lifts_the_threshold_and_quiet_weeks_lower_it() -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors.departure_episodes import control

    pace, tally, _ = _tops()
    tally[of.BLOCKS] = 10_000
    control(pace, tally, True, 0.5, 300_000.0, 0.0)
    lifted = float(pace[of.SHIFT])
    assert lifted == pytest.approx(1.0, abs=0.04)
    for _ in range(2 * 2016):
        control(pace, tally, False, 0.5, 300_000.0, 0.0)
    # Two weeks at half an alarm a week pay for one.
    assert float(pace[of.SHIFT]) == pytest.approx(0.0, abs=0.04)


def test_alarms_are_a_habit_beyond_a_few_and_several_times_the_budget() -> None:
    from services.detector.detectors.departure_episodes import control

    pace, tally, _ = _tops()
    week_ms = 604_800_000.0
    habits = [control(pace, tally, True, 0.5, 3_600_000.0, week_ms) for _ in range(7)]
    assert habits == [False] * 5 + [True] * 2
    assert not control(pace, tally, False, 5.0, 3_600_000.0, week_ms)


def test_rarity_of_a_block_is_its_rank_and_beyond_all_a_heavy_tail() -> None:
    from services.detector.detectors import departure_blocks as blocks
    from services.detector.detectors import departure_kernel as of

    _, _, tops = _tops()
    codes = (np.arange(1, 13, dtype=np.float32).view(np.int32) >> 16).tolist()
    for at, code in enumerate(codes):
        blocks.insert(tops, 0, of.KEPT, at, code)
    logs = math.log(101)
    third = of.rarity(tops, 0, of.KEPT, codes[9], 100, logs)
    assert third == pytest.approx(logs - math.log(3.5))
    beyond = [of.rarity(tops, 0, of.KEPT, codes[11] + more, 100, logs) for more in (1, 50, 5000)]
    assert logs + 0.7 < beyond[0] < beyond[1] < beyond[2] == pytest.approx(logs + 10.7)


def _run(values: list[float], minutes: int = 5, **settings: object) -> tuple[list[int], Columns]:
    detector = make("surprise", dict(settings))
    state = Columns(detector.columns())
    state.grow(1)
    told = []
    for at, value in enumerate(values):
        tick = tick_of(np.array([value]), np.array([at * minutes * _MINUTE]))
        votes = detector.step(state, tick)
        if votes.judged[0] and votes.numbers["onset"][0]:
            told.append(at)
    return told, state


def test_the_score_is_the_mean_distance_of_three_points_and_every_number_is_told() -> None:
    detector = make("surprise")
    _, state = _run([_wave(at) for at in range(400)])
    votes = detector.judge(state, tick_of(np.array([300.0]), np.array([400 * 5 * _MINUTE])))
    numbers = {name: float(array[0]) for name, array in votes.numbers.items()}

    assert numbers["value"] == 300.0
    assert 100 < numbers["mean"] < 101
    assert 100 < numbers["expected"] < 101
    assert numbers["score"] > 100
    assert numbers["rarity"] > numbers["threshold"]
    # Farther than any of 400 points was from those before it: beyond the largest, by the tail.
    assert math.log(400) + 0.7 < numbers["new_value"] <= math.log(400) + 4.7
    assert votes.direction.tolist() == [1]
    assert votes.coarse is not None
    assert votes.coarse.tolist() == [True]
    sentence = detector.explain(numbers)
    assert sentence.startswith("300 where 100")
    assert detector.kind(numbers, 1) is AnomalyKind.SPIKE
    assert "far from any seen before" in sentence


def test_an_onset_is_told_once_however_long_the_new_level_lasts() -> None:
    told, _ = _run([_wave(at) + (300.0 if at >= 400 else 0.0) for at in range(700)])

    assert told[0] == 400
    assert len(told) == 1


def test_a_point_is_judged_from_the_twentieth_on_by_a_wide_band() -> None:
    mild, _ = _run([_wave(at) + (1.0 if at == 30 else 0.0) for at in range(40)], minutes=60)
    gross, _ = _run([_wave(at) + (1e4 if at == 30 else 0.0) for at in range(40)], minutes=60)

    assert mild == []
    assert gross == [30]


def test_an_hourly_series_is_settled_after_a_week() -> None:
    detector = make("surprise")
    _, state = _run([_wave(at) for at in range(7 * 24 + 1)], minutes=60)
    tick = tick_of(np.array([100.0]), np.array([(7 * 24 + 1) * 60 * _MINUTE]))
    votes = detector.judge(state, tick)
    assert votes.coarse is not None
    assert not votes.coarse.any()


def test_a_series_stuck_at_its_last_value_is_told() -> None:
    rng = np.random.default_rng(3)
    values = (50 + rng.normal(size=1200)).tolist()
    told, _ = _run([*values, *[values[-1]] * 100])

    assert any(1200 <= at < 1300 for at in told)


def test_growth_at_a_steady_rate_is_no_novelty_each_day() -> None:
    rng = np.random.default_rng(4)
    values = (20 + 0.007 * np.arange(10 * 288) + 0.02 * rng.normal(size=10 * 288)).tolist()
    told, _ = _run(values)

    assert len(told) <= 2


def test_only_the_wanted_direction_is_told() -> None:
    for direction, fires in (("spike", [False]), ("drop", [True])):
        detector = make("surprise", {"direction": direction})
        state = Columns(detector.columns())
        state.grow(1)
        for at in range(400):
            detector.step(state, tick_of(np.array([_wave(at)]), np.array([at * 5 * _MINUTE])))
        votes = detector.step(state, tick_of(np.array([0.0]), np.array([400 * 5 * _MINUTE])))
        assert votes.anomalous.tolist() == fires


def test_the_engine_asks_it_unless_told_otherwise() -> None:
    engine = Engine(EngineSettings(zone="Europe/Berlin"))
    rows = [("m1", "queue", "", 1_700_000_000_000 + at * _MINUTE, _wave(at)) for at in range(300)]
    assert [event for row in rows for event in engine.process(from_rows([row]))] == []

    row = ("m1", "queue", "", 1_700_000_000_000 + 300 * _MINUTE, 900.0)
    (event,) = engine.process(from_rows([row]))

    assert isinstance(event, AnomalyDetected)
    assert [vote.detector for vote in event.votes] == ["surprise"]
    assert "far from any seen before" in event.sentence


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone 'Mars/Olympus'"):
        EngineSettings(zone="Mars/Olympus")


def test_usual_deviations_are_those_of_points_that_move() -> None:
    from services.detector.detectors import departure_kernel as of

    def usual(values: list[float]) -> float:
        _, state = _run(values)
        return of.usual(state["pace"][0], int(state["tally"][0, of.BEST]))

    rng = np.random.default_rng(11)
    noise = rng.normal(size=1000)
    assert usual(noise.tolist()) == pytest.approx(1.0, rel=0.2)
    # A one among zeros every tenth point is half a one off for each of its two moves.
    ones = (np.arange(1000) % 10 == 0).astype(float)
    assert 0.5 < usual(ones.tolist()) < 1.5


def test_a_slow_trend_is_told_before_it_is_known() -> None:
    rng = np.random.default_rng(20)
    usual, day = rng.normal(size=14 * 288 + 144), 288
    ramp = 10 * np.arange(day) / day + rng.normal(size=day)
    told, _ = _run([*usual, *ramp])
    first = [at - len(usual) for at in told if at >= len(usual)]
    assert first[0] < day // 2
    assert len(told) <= 3, "a budget of one in two weeks, and the trend"


def test_what_a_slow_fault_reaches_hardly_becomes_usual_before_it_is_told() -> None:
    from services.detector.detectors import departure_blocks as blocks
    from services.detector.detectors import departure_kernel as of

    pace, tally, tops = _tops()
    tally[of.BLOCKS] = of.TAIL_BLOCKS + 1
    usual, far = (int(np.float32(size).view(np.int32) >> 16) for size in (1.0, 4.0))
    for channel in range(of.CHANNELS):
        tops[channel * of.KEPT] = usual
    codes = np.full(of.CHANNELS + 1, far << 16, dtype=np.int32)
    rarities, fresh = np.zeros(of.GROUPS), np.zeros(of.PACE)
    blocks.account(pace, tally, tops, codes, fresh, rarities, False, False, False, False)
    assert tops[of.OPEN + of.DAY] - usual < 0.1 * of.TWICE
    # One point may be far out at once, for a heavy tail is known by such.
    assert tops[of.OPEN + of.ONE] - usual == of.TWICE


def test_what_was_far_out_before_a_rhythm_was_known_is_forgotten() -> None:
    from services.detector.detectors import departure_kernel as of

    pace, _, tops = _tops()
    day, week, far = 3, 6, int(np.float32(4.0).view(np.int32) >> 16)
    pace[of.ERROR : of.ERROR + 9] = 8.0
    pace[of.ERROR + week] = 1.0
    tops[: of.CHANNELS * of.KEPT] = far
    young = tops.copy()
    assert of.choose(pace, young, of.TAIL_BLOCKS, day) == week
    np.testing.assert_array_equal(young, tops)
    assert of.choose(pace, tops, of.TAIL_BLOCKS + 1, day) == week
    assert tops[of.HOURS * of.KEPT] == np.float32(1.2).view(np.int32) >> 16
    assert tops[of.STILL * of.KEPT] == far


def test_an_episode_ends_at_half_as_rare_however_low_the_threshold() -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors.departure_episodes import speak

    pace, tally, _ = _tops()
    course = np.zeros(of.COURSE)
    tally[of.FIRING] = 1

    # Under a large budget the threshold may be two nats, and usual points have one.
    assert speak(course, pace, tally, 1.5, 2.0, 0, 0.0) == (False, True)
    assert speak(course, pace, tally, 1.1, 2.0, 0, 0.0) == (False, False)


def test_what_is_far_rarer_than_the_alarm_that_rests_is_told_once_that_has_ended() -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors.departure_episodes import rest, speak

    pace, tally, _ = _tops()
    course = np.zeros(of.COURSE)
    course[of.TOLD_MS], pace[of.PEAK] = 0, 8.0
    for rarest, opens in ((11.9, False), (12.1, True)):
        assert speak(course, pace, tally, rarest, 7.0, _HOUR_MS, 10 * _HOUR_MS) == (opens, False)
    tally[of.FIRING] = 1
    assert speak(course, pace, tally, 12.1, 7.0, _HOUR_MS, 10 * _HOUR_MS) == (False, True)
    # And that one rests in its turn.
    rest(course, pace, 12.1, _HOUR_MS, 10 * _HOUR_MS, 0.5)
    tally[of.FIRING] = 0
    later_ms = 10.5 * _HOUR_MS
    assert speak(course, pace, tally, 12.1, 7.0, later_ms, 10 * _HOUR_MS) == (False, False)


_NOVEMBER_MS = 1_794_960_000_000
"""A midnight after which a doubtful alarm is told three hours before the requests stop."""


def _requests_by_minute() -> Iterator[tuple[int, float]]:
    """Six days of a counter that begins anew with each noon's deploy, and an hour of nothing."""
    noise, total = random.Random(7), 0.0
    for minute in range(6 * 1440):
        day, hour = minute // 1440, minute % 1440 / 60
        rate = 20 + 15 * math.sin((hour - 8) / 24 * 2 * math.pi) + noise.gauss(0, 1.5)
        rate = 0.0 if day == 5 and 14 <= hour < 15 else max(0.0, rate)
        total = rate * 5 if day >= 2 and minute % 1440 == 720 else total + rate * 60
        yield minute, total


@pytest.mark.slow
def test_an_outage_is_told_though_something_doubtful_was_told_hours_before() -> None:
    engine, told = Engine(EngineSettings()), list[AnomalyDetected]()
    requests, name = list(_requests_by_minute()), "http_request_duration_seconds_count"
    for first in range(0, len(requests), 5):
        rows = [
            ("app1", name, "", _NOVEMBER_MS + minute * _MINUTE, round(total, 3))
            for minute, total in requests[first : first + 5]
        ]
        found = engine.process(from_rows(rows, clock_ms=rows[-1][3]))
        told += [each for each in found if isinstance(each, AnomalyDetected)]
    hours = [(each.time_ms - _NOVEMBER_MS) / _HOUR_MS - 5 * 24 for each in told]
    assert 14.0 in {round(hour, 1) for hour in hours}


_DAY, _STEP_MS, _MONDAY_MS = 288, 5 * _MINUTE, 1_767_571_200_000


def _working_week(days: int, series: int) -> np.ndarray:
    """A rhythm of the day that is a third as high at weekends, with noise of one."""
    at = np.arange(days * _DAY)
    height = np.where(at // _DAY % 7 < 5, 10.0, 3.0) * (1 - np.cos(2 * np.pi * at / _DAY))
    return 50 + height + np.random.default_rng(3141).normal(size=(series, days * _DAY))


def _told(values: np.ndarray) -> np.ndarray:
    """The points at which an anomaly begins, (points, series)."""
    detector = make("surprise")
    state = Columns(detector.columns())
    state.grow(len(values))
    rows, onsets = np.arange(len(values)), []
    for at, column in enumerate(values.T):
        times = np.full(len(values), _MONDAY_MS + at * _STEP_MS)
        onsets.append(detector.step(state, tick_of(column, times, rows=rows)).numbers["onset"] > 0)
    return np.array(onsets)


@pytest.mark.slow
def test_weekends_of_a_working_week_are_no_anomalies() -> None:
    told = _told(_working_week(15, 8))
    # Without knowledge of weeks each series had an alarm at its first weekend and most at the next.
    assert told[5 * _DAY : 7 * _DAY].sum() <= 2
    assert told[12 * _DAY : 14 * _DAY].sum() <= 7


def test_a_new_level_is_told_on_a_working_week_that_was_seen_twice() -> None:
    values, begin = _working_week(15, 8), 14 * _DAY + _DAY // 2
    values[:, begin:] += 3
    assert _told(values)[begin:].any(axis=0).sum() >= 6


def test_a_slot_of_the_week_is_the_mean_of_its_first_week_and_learns_no_fault_meanwhile() -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors import departure_week as weeks

    pace, tally, _ = _tops()
    week, hour = np.zeros(of.WEEK_SLOTS, dtype=np.float32), 12
    for at in range(12 * hour):
        place = weeks.week_place(_MONDAY_MS + at * _STEP_MS)
        weeks.season(week, pace, tally, place, 5.0, float(_STEP_MS), 0.0)
        assert week[place[1]] == 0, "the present slot is as it was before"
    assert week[1:5] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("began", "now", "new"),
    [
        (0, 4, False),
        (0, 5, True),
        (0, 6, True),
        (0, 12, False),
        (5, 6, False),
        (5, 7, True),
        (6, 8, True),
        (5, 9, False),
        (2, 2, False),
    ],
)
def test_the_first_days_of_another_kind_are_new(began: int, now: int, new: bool) -> None:
    from services.detector.detectors import departure_week as weeks

    day_ms = _DAY * _STEP_MS
    assert weeks.unseen(_MONDAY_MS + now * day_ms, float((now - began) * day_ms)) == new


@pytest.mark.parametrize("step_minutes", [1, 5])
def test_what_the_time_of_day_learned_of_weekends_is_taken_out(step_minutes: int) -> None:
    from services.detector.detectors import departure_kernel as of
    from services.detector.detectors import departure_week as weeks

    week = np.zeros(of.WEEK_SLOTS, dtype=np.float32)
    week[5 * 12 :] = -10
    step_ms, memory, worst = step_minutes * _MINUTE, np.full(96, np.nan), 0.0
    for at in range(22 * 24 * 60 // step_minutes):
        local_ms = _MONDAY_MS + at * step_ms
        place, slot = weeks.week_place(local_ms), local_ms % (_DAY * _STEP_MS) // 900_000
        now = weeks.part(week, place, 0)
        if at * step_ms > 14 * _DAY * _STEP_MS:
            mixed = weeks.mixed(week, place, local_ms, float(step_ms), float(at * step_ms))
            worst = max(worst, abs(memory[slot] - mixed))
        memory[slot] = now if np.isnan(memory[slot]) else memory[slot] + 0.1 * (now - memory[slot])
    assert worst < 1.0, "of ten that weekends differ by"


def test_a_spike_of_counts_at_night_and_a_dip_at_noon_are_told() -> None:
    """Counts vary by 2 where there are 4 of them, and by 4.5 where there are 20.

    By one scale for both, none of these spikes was told and one of the dips.
    """
    rng, steps = np.random.default_rng(27), np.arange(15 * _DAY)
    usual = rng.poisson(12 + 8 * np.sin(2 * np.pi * steps / _DAY), size=(12, len(steps)))
    for hour, value in ((18, 13.0), (12, 0.0)):
        values, begin = usual.astype(np.float64), 14 * _DAY + hour * 12
        values[:, begin : begin + 3] = value
        assert _told(values)[begin : begin + 12].any(axis=0).sum() >= 8


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, 3.0), (3.0, 1.0)])
def test_errors_are_measured_by_those_that_are_usual_where_so_much_is_expected(
    low: float, high: float
) -> None:
    from services.detector.detectors import departure_height as heights
    from services.detector.detectors import departure_kernel as of

    pace, _, _ = _tops()
    course, rng = np.zeros(of.COURSE), np.random.default_rng(5)
    course[of.LEVEL], pace[of.SPREAD] = 50.0, 10.0
    usual = (low + high) / 2 * math.sqrt(2 / math.pi)
    for at in range(4000):
        expected, deviation = (40.0, low) if at % 2 else (60.0, high)
        heights.learn_lean(course, pace, expected, rng.normal(scale=deviation), usual)
    found = heights.lean(course, pace, 60.0) / heights.lean(course, pace, 40.0)
    assert found == pytest.approx(high / low, rel=0.2)
    assert heights.lean(course, pace, 50.0) == 1.0
