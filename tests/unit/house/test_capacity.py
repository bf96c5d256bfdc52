"""The capacity model: what it promises to whoever sizes an installation by it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from bench.capacity import COSTS, MAX_STREAMS, Load, busiest_share, checked, sized


def test_machines_are_shared_out_by_the_platforms_own_hash_so_no_replica_is_average() -> None:
    even = np.full(16, 100.0)
    assert busiest_share(even, 1) == 1
    assert busiest_share(even, 4) == pytest.approx(1 / 4)
    assert busiest_share(even, 5) == pytest.approx(4 / 16), "somebody has one stream more"
    one_hot = np.array([1000.0, *([1.0] * 15)])
    assert busiest_share(one_hot, 16) == pytest.approx(1000 / 1015), "a stream is the least"


def test_more_machines_never_need_less_and_the_busiest_replica_keeps_up() -> None:
    sizes = [sized(Load(machines, 100, 60.0), COSTS) for machines in (100, 3000, 20_000, 60_000)]
    for smaller, larger in itertools.pairwise(sizes):
        for part in ("streams", "gateways", "judges", "predictors", "cores", "memory_gib"):
            assert getattr(smaller, part) <= getattr(larger, part), part
    assert all(each.busiest <= 0.85 for each in sizes)
    assert all(each.judges <= each.streams <= MAX_STREAMS for each in sizes)


def test_a_load_that_no_number_of_replicas_carries_is_said_to_be_so() -> None:
    dear = replace(COSTS, judge_us=20_000.0)
    found = sized(Load(50_000, 100, 10.0), dear)
    assert found.judges == 0
    assert "judge" in found.limit


def test_a_prediction_is_held_against_what_was_measured() -> None:
    def phase(samples: int, judge: float) -> dict[str, object]:
        return {"samples": samples, "cpu_us_per_sample": {"judge": judge, "broker": 2.0}}

    found = checked({"phases": [phase(1000, 10.0), phase(10**6, 8.0)]})
    assert found["parts"]["judge"] == {"predicted_cpu_s": 10.0, "measured_cpu_s": 8.0}
    assert found["predicted_over_measured"] == pytest.approx(1.2)
