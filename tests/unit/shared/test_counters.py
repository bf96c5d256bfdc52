"""Counters by their names: told as rates, until their values show that they are none."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from shared.derivation import Deriver
from shared.samples import from_rows

_STEP_MS = 15_000


def _told(item: str, values: Iterable[float], deriver: Deriver | None = None) -> list[float]:
    deriver = Deriver() if deriver is None else deriver  # one that is empty is false
    found = []
    for turn, value in enumerate(values):
        points = deriver.apply(from_rows([("h", item, "", turn * _STEP_MS, value)]))
        found += points.value.tolist()
    return found


@pytest.mark.parametrize("ending", ["_total", "_count", "_sum", "_bucket"])
def test_histograms_and_summaries_count_as_totals_do(ending: str) -> None:
    values = [*range(0, 3000, 30), *range(15, 3015, 30), *[2985] * 5]
    rates = _told(f"http_request_duration_seconds{ending}", values)
    assert len(rates) == len(values) - 1
    assert np.flatnonzero(np.isnan(rates)).tolist() == [99]
    assert set(np.array(rates)[~np.isnan(rates)]) == {2.0, 0.0}


def test_a_gauge_that_is_called_a_count_is_told_by_its_values() -> None:
    chance = random.Random(3)
    values = [float(chance.randint(40, 60)) for _ in range(40)]
    told = _told("jvm_thread_count", values)
    assert told[-30:] == values[-30:]


def test_a_small_gauge_that_often_falls_to_nothing_is_no_counter() -> None:
    values = [float(turn % 3) for turn in range(60)]
    assert _told("queue_count", values)[-40:] == values[-40:]


def test_a_gauge_that_calls_itself_a_total_or_is_declared_a_counter_is_told_by_its_values() -> None:
    chance = random.Random(3)
    values = [float(chance.randint(40, 60)) for _ in range(60)]
    assert _told("nvlink_bandwidth_total", values)[-30:] == values[-30:]
    deriver = Deriver()
    row = from_rows([("h", "DCGM_FI_DEV_COUNT", "", -_STEP_MS, 50.0)])
    deriver.apply(replace(row, counters=("DCGM_FI_DEV_COUNT",)))
    assert _told("DCGM_FI_DEV_COUNT", values, deriver)[-30:] == values[-30:]


def test_a_counter_that_is_a_little_behind_now_and_then_stays_one() -> None:
    values = [float(turn * 30 - 40 * (turn % 60 == 59)) for turn in range(600)]
    told = np.array(_told("fritz_wan_data_bytes_total", values))
    assert np.isnan(told).sum() == 10
    assert np.nanmedian(told) == 2.0


def test_a_program_that_crashes_again_and_again_still_has_counters() -> None:
    told = np.array(_told("x_total", [float(turn % 5 * 100) for turn in range(200)]))
    assert np.nanmax(told) == pytest.approx(100 / 15)


def test_a_service_that_is_restarted_every_day_still_has_a_counter() -> None:
    day = [float(turn * 10) for turn in range(200)]
    told = _told("rpc_duration_seconds_count", day * 8)
    assert told[-1] == pytest.approx(10 / 15)
    assert np.isnan(told).sum() == 7


def test_what_was_learnt_of_a_series_outlives_a_snapshot() -> None:
    deriver = Deriver()
    values = [50.0, 45.0, 55.0, 44.0]
    _told("jvm_thread_count", values, deriver)
    restored = Deriver.restored(deriver.snapshot())
    points = restored.apply(from_rows([("h", "jvm_thread_count", "", 10 * _STEP_MS, 47.0)]))
    assert points.value.tolist() == [47.0]


def test_a_snapshot_from_before_counters_were_presumed_is_taken() -> None:
    deriver = Deriver()
    _told("x_total", [1.0, 4.0], deriver)
    new = ("presumed", "points", "falls", "odd_falls")
    old = {
        name: array
        for name, array in deriver.snapshot().items()
        if name != "declared" and not name.endswith(new)
    }
    points = Deriver.restored(old).apply(from_rows([("h", "x_total", "", 30_000, 19.0)]))
    assert points.value.tolist() == [1.0]


@pytest.mark.parametrize("item", ["queue_length", "queue_length_total", "cpu.idle"])
def test_a_value_that_no_plot_can_hold_is_none_and_is_counted(item: str) -> None:
    deriver = Deriver()
    values = [10.0, 1.7976931348623157e308, 10.0, -1.7e308, 1.7e308, 3.3e38, 18446744073709551615.0]
    told = np.array(_told(item, values, deriver))
    assert deriver.beyond > 0
    assert (np.isnan(told) | (np.abs(told) <= 3.4e38)).all()
