"""The predictor's engine on series whose future is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from services.predictor.behaviour import behaviour_of, clean_ups_of
from services.predictor.engine import Engine
from services.predictor.forecasters import CannotForecast, Forecast
from services.predictor.forecasters.base import Floats
from services.predictor.ledger import Ledger
from services.predictor.selection import Choice, Selector
from services.predictor.settings import EngineSettings
from shared.contracts import AlarmPredicted, Message, PredictionWithdrawn, SeriesRef
from shared.items import Behaviour
from shared.samples import from_rows
from shared.weeks import KEPT_WEEKS

_DISK = "df.bytes.used.percent"
_QUICK = EngineSettings(
    resolution_s=1, forecasters={"arima": {"max_p": 1, "max_q": 1}}, reselect_steps=1000
)


def _feed(
    engine: Engine, values: np.ndarray, item: str = _DISK, start: int = 0, hosts: int = 1
) -> list[Message]:
    events: list[Message] = []
    for step, value in enumerate(values, start):
        rows = [(f"host{h}", item, "", step * 1000, float(value)) for h in range(hosts)]
        events += engine.process(from_rows(rows))
    return events


def _filling(points: int, seed: int = 2) -> np.ndarray:
    return 30 + np.arange(points) + np.random.default_rng(seed).normal(scale=0.3, size=points)


def test_a_filling_disk_is_predicted_once_before_it_is_full_and_the_prediction_comes_true() -> None:
    engine = Engine(_QUICK)
    events = _feed(engine, _filling(65))
    first, last = events[0], events[-1]
    assert isinstance(first, AlarmPredicted)
    assert isinstance(last, PredictionWithdrawn)
    assert abs(first.crossing_ms - 60_000) < 4_000
    assert first.time_ms < 55_000
    assert first.earliest_ms <= first.crossing_ms
    assert last.outcome == "came_true"
    assert len({e.event_id for e in events}) == 1
    assert len(events) <= 4
    score = engine.episodes.ledger.scores[_DISK]
    assert (score.hit, score.missed, score.false) == (1, 0, 0)
    assert score.accuracy == 1


def test_a_predicted_alarm_is_forecast_again_at_every_second_step_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, forecast = [0], Selector.forecast

    def counted(
        self: Selector, choices: Sequence[Choice], *known: Sequence[Floats]
    ) -> list[Forecast | CannotForecast]:
        made[0] += len(choices)
        return forecast(self, choices, *known)

    monkeypatch.setattr(Selector, "forecast", counted)
    counts = []
    for steps in (1, 2):
        engine = Engine(_QUICK.model_copy(update={"revisit_steps": steps}))
        made[0] = 0
        events = _feed(engine, _filling(65))
        assert isinstance(events[-1], PredictionWithdrawn)
        assert events[-1].outcome == "came_true"
        counts.append(made[0])
    assert counts[1] < 0.75 * counts[0]


def test_a_level_disk_is_not_predicted_to_fill() -> None:
    values = 60 + np.random.default_rng(1).normal(size=60)
    assert _feed(Engine(_QUICK), values) == []


def test_what_is_already_beyond_the_threshold_is_not_predicted() -> None:
    assert _feed(Engine(_QUICK), np.linspace(91, 99, 40)) == []


def _hourly(engine: Engine, values: np.ndarray, item: str) -> list[AlarmPredicted]:
    events: list[Message] = []
    for hour, value in enumerate(values):
        events += engine.process(from_rows([("host", item, "", hour * 3_600_000, float(value))]))
    return [event for event in events if isinstance(event, AlarmPredicted)]


def test_what_goes_beyond_the_threshold_within_a_step_is_not_predicted() -> None:
    rising = np.repeat(_filling(45), 2)
    for newest, predictions in ((89.0, 1), (95.0, 0)):
        engine = Engine(_QUICK.model_copy(update={"resolution_s": 2, "min_points": 45}))
        events = _feed(engine, np.r_[rising, newest])
        assert [type(event) for event in events] == [AlarmPredicted] * predictions


def test_a_disk_is_forecast_a_week_ahead_and_what_swings_a_day() -> None:
    noise = np.random.default_rng(4).normal(scale=0.05, size=400)
    disk = _hourly(Engine(EngineSettings()), 40 + 0.1 * np.arange(400) + noise, _DISK)
    # It reaches 90 at hour 500; the half of its history that tells of so much ahead was there.
    assert len(disk[0].forecast) == 168
    assert "within 168 hours" in disk[0].sentence
    assert 100 < (disk[0].crossing_ms - disk[0].time_ms) / 3_600_000 < 170
    assert disk[0].crossing_ms == pytest.approx(500 * 3_600_000, abs=12 * 3_600_000)
    load = EngineSettings(thresholds={"load.1min": 90}, days_ahead={})
    (first, *_) = _hourly(Engine(load), 70 + 0.1 * np.arange(200) + noise[:200], "load.1min")
    assert len(first.forecast) == 24


def test_a_young_disk_is_not_forecast_further_than_half_of_what_is_known() -> None:
    settings = EngineSettings()
    assert settings.furthest(_DISK) == 168
    assert settings.furthest("cpu.idle") == 24
    assert [settings.ahead(168, points) for points in (20, 100, 336, 672)] == [24, 50, 168, 168]
    # Where a week is most of the history that is kept, or more, it cannot tell of one.
    assert EngineSettings(points=600).furthest(_DISK) == 24
    assert EngineSettings(resolution_s=1).furthest(_DISK) == 24


def test_no_disk_is_predicted_to_be_more_than_full() -> None:
    events = _feed(Engine(_QUICK), np.r_[np.full(20, 30.0), 30 + 3.5 * np.arange(1, 16)])
    predicted = [event for event in events if isinstance(event, AlarmPredicted)]
    assert predicted
    for event in predicted:
        assert 90 <= event.predicted_value <= 100
        assert max(point.upper for point in event.forecast) <= 100


def test_a_sudden_alarm_is_counted_as_missed() -> None:
    engine = Engine(_QUICK)
    _feed(engine, np.r_[np.full(25, 40.0), 95, 95])
    assert engine.episodes.ledger.scores[_DISK].missed_rate == 1


def test_a_clean_up_ends_the_prediction_without_calling_it_false() -> None:
    engine = Engine(_QUICK)
    filling = _filling(50)
    events = _feed(engine, np.r_[filling, filling[-1] - 70 + np.zeros(6)])
    assert isinstance(events[-1], PredictionWithdrawn)
    score = engine.episodes.ledger.scores[_DISK]
    assert (score.averted, score.false) == (1, 0)


def test_a_restored_engine_goes_on_as_if_nothing_had_happened() -> None:
    values = _filling(65)
    undisturbed, before = Engine(_QUICK), Engine(_QUICK)
    expected = _feed(undisturbed, values)
    events = _feed(before, values[:45])
    after = Engine(_QUICK)
    after.restore(before.snapshot())
    events += _feed(after, values[45:], start=45)
    assert events == expected


def test_the_budget_leaves_the_rest_for_later_steps_and_shows_the_lag() -> None:
    engine = Engine(_QUICK.model_copy(update={"budget_per_step": 1}))
    events = _feed(engine, _filling(50), hosts=3)
    assert engine.lag == 2
    predicted = [e for e in events if isinstance(e, AlarmPredicted) and e.revision == 1]
    assert {e.series.host for e in predicted} == {"host0", "host1", "host2"}


def test_a_falling_item_is_predicted_below_its_threshold() -> None:
    settings = _QUICK.model_copy(update={"behaviours": {"cpu.idle": Behaviour.STABLE}})
    events = _feed(Engine(settings), 100 - _filling(50), item="cpu.idle")
    assert isinstance(events[0], AlarmPredicted)
    assert not events[0].above


def test_the_behaviour_follows_from_the_measure_and_can_be_overridden() -> None:
    steps = np.arange(168)
    noise = np.random.default_rng(1).normal(size=168)
    daily = 10 * np.sin(2 * np.pi * steps / 24) + noise
    assert behaviour_of(_DISK, daily, 24).behaviour is Behaviour.VOLATILE
    assert behaviour_of("cpu.idle", steps + noise, 24).behaviour is Behaviour.STABLE
    assert behaviour_of("cpu.idle", noise, 24).behaviour is Behaviour.VOLATILE
    assert behaviour_of(_DISK, daily, 24, Behaviour.STABLE).reason == "set for the item"


def test_a_clean_up_is_shifted_away_and_the_pace_stays() -> None:
    values = np.r_[np.arange(50, 80), np.arange(40, 60)].astype(float)
    found = clean_ups_of(values, 90, above=True)
    assert found.count == 1
    assert found.next_in is None
    np.testing.assert_allclose(np.diff(found.levelled), 1)
    assert found.levelled[-1] == 59


def test_a_log_that_is_rotated_in_time_is_not_predicted_to_fill_the_disk() -> None:
    tooth = 50 + 1.2 * np.arange(24)
    noise = np.random.default_rng(3).normal(scale=0.1, size=24 * 10)
    engine = Engine(_QUICK)
    events = _feed(engine, np.tile(tooth, 10) + noise)
    # Three clean-ups make a rhythm; before that nobody can know.
    assert [e for e in events if isinstance(e, AlarmPredicted) and e.time_ms > 4 * 24_000] == []
    assert engine.episodes.ledger.scores[_DISK].missed == 0


def test_a_prediction_says_how_likely_it_is_and_between_which_times() -> None:
    first = _feed(Engine(_QUICK), _filling(50))[0]
    assert isinstance(first, AlarmPredicted)
    assert first.probability is not None
    assert first.probability > 0.4
    assert first.likely_from_ms is not None
    assert first.likely_until_ms is not None
    assert first.time_ms < first.likely_from_ms <= first.likely_until_ms
    assert "with a probability of" in first.sentence
    assert "probability_paths" in first.why


def test_the_ledger_counts_how_often_the_intervals_held() -> None:
    engine = Engine(_QUICK)
    values = 86 + np.random.default_rng(6).normal(scale=0.8, size=200)
    _feed(engine, values)
    score = engine.episodes.ledger.scores[_DISK]
    assert score.judged >= 24
    assert score.coverage is not None
    assert 0.8 < score.coverage <= 1


def test_the_ledger_counts_by_week_what_it_counts_in_all() -> None:
    engine = Engine(_QUICK)
    _feed(engine, 86 + np.random.default_rng(6).normal(scale=0.8, size=200))
    ledger = engine.episodes.ledger
    weeks, score = ledger.weeks[_DISK], ledger.scores[_DISK]
    assert sum(week.judged for week in weeks.values()) == score.judged > 0
    assert sum(week.inside for week in weeks.values()) == score.inside
    assert sum(week.chances for week in weeks.values()) == score.chances > 0
    assert sum(week.squares for week in weeks.values()) == pytest.approx(score.squares)
    restored = Engine(_QUICK)
    restored.restore(engine.snapshot())
    assert restored.episodes.ledger.weeks == ledger.weeks


def test_the_newest_weeks_are_kept_whenever_they_are_counted() -> None:
    ledger = Ledger()
    for week in (50, 10, *range(40, 60)):
        score, own = ledger.judged(_DISK, week)
        score.judged += 1
        own.judged += 1
    assert sorted(ledger.weeks[_DISK]) == list(range(60 - KEPT_WEEKS, 60))
    assert ledger.weeks[_DISK][50].judged == 2
    assert ledger.scores[_DISK].judged == 22


def test_what_is_far_from_its_threshold_costs_no_forecast() -> None:
    engine = Engine(_QUICK)
    _feed(engine, 20 + np.random.default_rng(1).normal(scale=0.1, size=80))
    assert engine.lag == 0
    assert _DISK not in engine.episodes.ledger.scores


def test_the_ledger_tells_reduction_and_lead_time() -> None:
    engine = Engine(_QUICK)
    filling = _filling(50)
    _feed(engine, np.r_[filling, filling[-1] - 70 + np.zeros(6)])
    score = engine.episodes.ledger.scores[_DISK]
    assert score.reduction == 1
    assert score.lead_s is None
    engine = Engine(_QUICK)
    _feed(engine, _filling(65))
    score = engine.episodes.ledger.scores[_DISK]
    assert score.reduction == 0
    assert score.lead_s is not None
    assert score.lead_s > 5


def test_a_page_is_told_the_history_and_a_forecast_and_nothing_is_changed_by_it() -> None:
    engine = Engine(_QUICK)
    _feed(engine, _filling(40))
    before = engine.snapshot()
    series = SeriesRef(host="host0", item=_DISK)
    curve = engine.curve(series)
    assert curve is not None
    assert (len(curve.points), curve.step_ms, curve.threshold) == (39, 1000, 90)
    assert [point.time_ms for point in curve.forecast[:2]] == [39_500, 40_500]
    assert curve.forecast[-1].mean > curve.points[-1].value + 15
    assert curve.probability is not None
    assert curve.probability > 0.5
    assert engine.curve(series.model_copy(update={"host": "other"})) is None
    after = engine.snapshot()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)


def test_a_page_is_told_why_a_short_history_is_not_forecast() -> None:
    engine = Engine(_QUICK)
    _feed(engine, _filling(5))
    curve = engine.curve(SeriesRef(host="host0", item=_DISK))
    assert curve is not None
    assert (len(curve.points), curve.forecast) == (4, ())
    assert "too short" in curve.note
