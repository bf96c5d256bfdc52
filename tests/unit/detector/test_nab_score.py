"""The benchmark's scorer, on files small enough to score by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.nab_score import File, Profile, curve, read_corpus, scaled_sigmoid

STANDARD = Profile("standard", tp=1.0, fn=1.0, fp=0.11)
ROWS = 100


@pytest.fixture
def file(tmp_path: Path) -> File:
    """100 rows, of which 15 are on probation, with one window over rows 50 to 59."""
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "group").mkdir(parents=True)
    stamps = np.datetime64("2020-01-01T00:00:00") + np.arange(ROWS) * np.timedelta64(60, "s")
    texts = [str(stamp).replace("T", " ") for stamp in stamps]
    lines = ["timestamp,value", *(f"{text},{at}" for at, text in enumerate(texts))]
    (tmp_path / "data" / "group" / "one.csv").write_text("\n".join(lines) + "\n")
    labels = {"group/one.csv": [[f"{texts[50]}.000000", f"{texts[59]}.000000"]]}
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(labels))
    (one,) = read_corpus(tmp_path)
    return one


def _score(file: File, *alarms: int) -> float:
    score = np.zeros(ROWS)
    score[list(alarms)] = 1.0
    all_ = curve([file], [score])
    return all_.normal(STANDARD, float(all_.raw(STANDARD)[all_.at(1.0)]))


def test_saying_nothing_is_0_and_the_first_row_of_every_window_100(file: File) -> None:
    assert _score(file) == 0
    assert _score(file, 50) == pytest.approx(100)


def test_a_later_alarm_in_the_window_is_worth_less(file: File) -> None:
    last = scaled_sigmoid(np.array(-0.1)) / scaled_sigmoid(np.array(-1.0))

    assert _score(file, 59) == pytest.approx(50 * (1 + float(last)))
    assert _score(file, 59, 50) == pytest.approx(100)


def test_an_alarm_outside_costs_less_just_behind_a_window(file: File) -> None:
    assert _score(file, 50, 40) == pytest.approx(100 - 50 * 0.11)
    near = float(scaled_sigmoid(np.array(1 / 9)))
    assert _score(file, 50, 60) == pytest.approx(100 + 50 * 0.11 * near)
    assert _score(file, 50, 95) == pytest.approx(100 - 50 * 0.11)


def test_alarms_on_probation_do_not_count(file: File) -> None:
    assert file.probation == 15
    assert _score(file, 3, 14, 50) == pytest.approx(100)
    assert _score(file, 15, 50) == pytest.approx(100 - 50 * 0.11)


def test_the_optimum_is_over_one_threshold_and_equal_scores_stand_together(file: File) -> None:
    score = np.zeros(ROWS)
    score[[20, 21, 22, 50]] = 0.5
    score[30] = 0.9

    best, threshold = curve([file], [score]).optimum(STANDARD)

    assert threshold == 0.5
    assert best == pytest.approx(100 - 4 * 50 * 0.11)
