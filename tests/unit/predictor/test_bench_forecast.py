"""The benchmark of forecasters reads what is there of M4 and says what is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from bench import forecast
from bench.forecast_scores import score
from bench.forecast_sets import Case, m4, table


def _write(path: Path, rows: np.ndarray) -> None:
    lines = [f"S{at}," + ",".join(f"{v:.3f}" for v in row) for at, row in enumerate(rows)]
    path.write_text("\n".join(["id", *lines]) + "\n")


def _weekly(folder: Path) -> None:
    rows = 50 + np.random.default_rng(1).normal(size=(2, 73)).cumsum(axis=1)
    _write(folder / "Weekly-train.csv", rows[:, :60])
    _write(folder / "Weekly-test.csv", rows[:, 60:])


def test_sets_of_m4_that_are_missing_are_named_and_the_others_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _weekly(tmp_path)
    (tmp_path / "Daily-train.csv").write_text("id\n")
    arguments = ["forecast", "--m4", str(tmp_path), "--simulated", "1", "--statsmodels", "0"]
    arguments += ["--only", "arima", "drift", "predictors_choice"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(forecast, "OURS", ("arima", "drift", "theta"))
    monkeypatch.setattr(forecast, "_peers", lambda _cases, _options: {})
    assert forecast.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert "m4_hourly left out: no Hourly-train.csv and Hourly-test.csv" in said
    assert "m4_daily left out: no Daily-test.csv" in said
    results = json.loads(said[-1])["results"]
    assert results["m4_weekly"]["drift"]["series"] == 2
    # Without a season, seasonal naive is the last value, as good as a drift on a random walk.
    assert 0.5 < results["m4_weekly"]["drift"]["relative"] < 2
    assert results["m4_weekly"]["drift"]["inside"] > 0.8
    assert set(results["m4_weekly"]) == {"series", "arima", "drift", "predictors_choice"}


def test_the_score_of_a_probability_is_that_of_its_definition() -> None:
    case = Case(np.arange(10.0), np.array([3.0, 11.0]), 1)
    deviation = 2.0
    mean = np.array([3.5, 9.0])
    half = 1.959963984540054 * deviation
    found = score(case, np.array([mean, mean - half, mean + half]))
    # CRPS is the integral of the squared difference of the two distribution functions.
    grid = np.linspace(-40, 60, 200_001)
    step = grid[1] - grid[0]
    expected = [
        float((((ndtr((grid - m) / deviation)) - (grid >= came)) ** 2).sum() * step)
        for m, came in zip(mean, case.future, strict=True)
    ]
    assert found.crps == pytest.approx(np.mean(expected), rel=1e-3)
    assert found.mase == pytest.approx(1.25)
    assert found.relative == pytest.approx(1.25 / 4)
    assert found.inside == 1


def test_held_back_steps_are_the_last_of_the_training_part(tmp_path: Path) -> None:
    _weekly(tmp_path)
    case = next(m4(tmp_path, "Weekly", 400, 20, held_back=True))
    train = table(tmp_path / "Weekly-train.csv")["S0"]
    np.testing.assert_array_equal(case.future, train[-13:])
    np.testing.assert_array_equal(case.history, train[-33:-13])
    assert case.scale == np.abs(np.diff(train[:-13])).mean()
