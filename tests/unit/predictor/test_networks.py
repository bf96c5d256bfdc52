"""The networks: trained per series in one graph, and one for all."""

from __future__ import annotations

import numpy as np
import pytest

from services.predictor.forecasters import Forecast, make

pytestmark = pytest.mark.slow  # They import TensorFlow.

_STEPS = np.arange(192)


def _daily(seed: int, points: int = 168) -> np.ndarray:
    rng = np.random.default_rng(seed)
    phase, height = rng.uniform(0, 6), rng.uniform(5, 20)
    noise = rng.normal(scale=0.1 * height, size=len(_STEPS))
    return (50 + height * np.sin(2 * np.pi * _STEPS / 24 + phase) + noise)[:points]


def _forecasts(name: str, histories: list[np.ndarray], **settings: object) -> list[Forecast]:
    found = make(name, dict(settings)).forecast(histories, 24, 24)
    return [one for one in found if isinstance(one, Forecast)]


def _misses(found: list[Forecast]) -> float:
    return float(
        np.mean([np.abs(f.mean - _daily(k, 192)[168:]).mean() for k, f in enumerate(found)])
    )


def test_a_network_of_its_own_learns_each_series_rhythm_better_than_yesterday_tells_it() -> None:
    histories = [_daily(seed) for seed in range(20)]
    yesterday = _misses(_forecasts("seasonal_naive", histories))
    assert _misses(_forecasts("neural_24_49_1", histories)) < 0.9 * yesterday


def test_one_network_for_all_learns_what_they_have_in_common() -> None:
    histories = [_daily(seed) for seed in range(20)]
    yesterday = _misses(_forecasts("seasonal_naive", histories))
    assert _misses(_forecasts("neural_global", histories)) < 0.95 * yesterday


def test_training_the_hidden_layer_too_keeps_what_leaves_out_best() -> None:
    (found,) = _forecasts("neural_24_49_1", [_daily(1)], epochs=5)
    assert np.isfinite(found.mean).all()
    assert np.abs(found.mean - _daily(1, 192)[168:]).mean() < 5


def test_a_network_does_not_depend_on_whom_it_is_trained_beside() -> None:
    histories = [_daily(seed) for seed in range(5)]
    together = _forecasts("neural_24_49_1", histories)
    for history, found in zip(histories, together, strict=True):
        (alone,) = _forecasts("neural_24_49_1", [history])
        np.testing.assert_allclose(found.mean, alone.mean, rtol=1e-3)


def test_intervals_of_a_network_hold_days_it_has_not_seen() -> None:
    found = _forecasts("neural_24_49_1", [_daily(seed) for seed in range(20)])
    held = [
        (f.lower <= _daily(k, 192)[168:]) & (_daily(k, 192)[168:] <= f.upper)
        for k, f in enumerate(found)
    ]
    assert np.mean(held) > 0.85
