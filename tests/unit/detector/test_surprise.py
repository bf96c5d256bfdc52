"""The default detector: rarities by hand, one telling an onset, a threshold from a budget."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.detector.detectors import make
from services.detector.detectors.base import tick_of
from services.detector.detectors.surprise import VIEWS
from services.detector.engine import Engine
from services.detector.settings import EngineSettings
from shared.columns import Columns
from shared.contracts import AnomalyDetected
from shared.samples import from_rows

_MINUTE = 60_000


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

    # Of 100 points, five are at least 96: ln(100/5.5).
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


def test_the_threshold_follows_from_the_budget_and_the_step() -> None:
    from services.detector.detectors.surprise_kernel import A, B, Rules, threshold

    def passed(minutes: float, budget: float = math.nan, learned: int = 1000) -> float:
        rules = Rules(0.5, 120, 0.5, 0.0, 0.0, 0.5, 100, 1000, 1.2, True, True)
        return threshold(rules, minutes * _MINUTE, budget, learned)

    # 2,016 points a week and one alarm in two weeks: one in 4,032 points is as rare.
    assert passed(5) == pytest.approx((math.log(4032) - A) / B)
    assert passed(5, budget=0.05) == pytest.approx((math.log(40320) - A) / B)
    assert passed(5) > passed(60)
    # A fifth of what makes a series settled: 1.2 nats for each e-fold it lacks.
    assert passed(5, learned=200) == pytest.approx(passed(5) + 1.2 * math.log(5))


def test_the_score_is_the_mean_rarity_less_the_habit_and_every_number_is_told() -> None:
    detector = make("surprise", {"lift": 0.0, "alarms_per_week": 1000})
    state = Columns(detector.columns())
    state.grow(1)
    for at in range(200):
        detector.step(state, tick_of(np.array([_wave(at)]), np.array([at * _MINUTE])))
    votes = detector.judge(state, tick_of(np.array([300.0]), np.array([200 * _MINUTE])))
    numbers = {name: float(array[0]) for name, array in votes.numbers.items()}

    views = [numbers[name] for name in VIEWS]
    assert numbers["score"] == pytest.approx(sum(views) / len(views))
    assert numbers["value"] == 300.0
    assert 100 < numbers["mean"] < 101
    # Farther than any of 200 points was from those before it: beyond the largest, by the tail.
    assert math.log(200) + 0.7 < numbers["new_value"] <= math.log(200) + 4.7
    assert votes.direction.tolist() == [1]
    assert votes.coarse is not None
    assert votes.coarse.tolist() == [True]
    assert "far from any seen before" in detector.explain(numbers)


def test_an_onset_is_told_once_however_long_the_new_level_lasts() -> None:
    detector = make("surprise")
    state = Columns(detector.columns())
    state.grow(1)
    told = []
    for at in range(700):
        value = _wave(at) + (300.0 if at >= 400 else 0.0)
        tick = tick_of(np.array([value]), np.array([at * 5 * _MINUTE]))
        votes = detector.step(state, tick)
        if votes.judged[0] and votes.numbers["report"][0] >= votes.numbers["threshold"][0]:
            told.append(at)

    assert told[0] == 400
    assert len(told) <= 3
    assert max(told) < 410


def test_only_the_wanted_direction_is_told() -> None:
    for direction, fires in (("spike", [False]), ("drop", [True])):
        detector = make("surprise", {"direction": direction})
        state = Columns(detector.columns())
        state.grow(1)
        for at in range(400):
            detector.step(state, tick_of(np.array([_wave(at)]), np.array([at * _MINUTE])))
        votes = detector.step(state, tick_of(np.array([0.0]), np.array([400 * _MINUTE])))
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
