"""The benchmark of forecasters reads what is there of M4 and says what is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import forecast
from bench.forecast_sets import m4, table


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
    assert set(results["m4_weekly"]) == {"series", "arima", "drift", "predictors_choice"}


def test_held_back_steps_are_the_last_of_the_training_part(tmp_path: Path) -> None:
    _weekly(tmp_path)
    case = next(m4(tmp_path, "Weekly", 400, 20, held_back=True))
    train = table(tmp_path / "Weekly-train.csv")["S0"]
    np.testing.assert_array_equal(case.future, train[-13:])
    np.testing.assert_array_equal(case.history, train[-33:-13])
    assert case.scale == np.abs(np.diff(train[:-13])).mean()
