"""The default detector: rarities by hand, one telling an onset, a threshold from a budget."""

from __future__ import annotations

import math

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
        return blocks.base(pace, tally, tops, 0, weekly, _HOUR_MS) + young

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
    control(pace, tally, True, 0.5, 300_000.0)
    lifted = float(pace[of.SHIFT])
    assert lifted == pytest.approx(1.0, abs=0.04)
    for _ in range(2 * 2016):
        control(pace, tally, False, 0.5, 300_000.0)
    # Two weeks at half an alarm a week pay for one.
    assert float(pace[of.SHIFT]) == pytest.approx(0.0, abs=0.04)


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
    blocks.account(pace, tally, tops, codes, fresh, rarities, False, False, False)
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

    _, tally, _ = _tops()
    course = np.zeros(of.COURSE)
    tally[of.FIRING] = 1

    # Under a large budget the threshold may be two nats, and usual points have one.
    assert speak(course, tally, 1.5, 2.0, 0, 0.0) == (False, True)
    assert speak(course, tally, 1.1, 2.0, 0, 0.0) == (False, False)
