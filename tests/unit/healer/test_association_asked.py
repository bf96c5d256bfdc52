"""Asking which recorded metrics move with an alarm: over HTTP, by the command line, and of a
series recorded on a real machine.

`recorded/busy_machine.csv` holds 35 minutes of a busy machine with two processors, a row a second:
what its kernel counted.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from services.healer.correlation.association import associate
from services.healer.correlation.recorded import on_steps
from shared.cli import correlation, healing
from tests.unit.healer.test_api import Door
from tests.unit.healer.test_incidents import NOW, anomaly, cleared

_RECORDED = Path(__file__).parent / "recorded" / "busy_machine.csv"


@pytest.fixture
def door() -> Door:
    return Door()


def samples(alarms: list[float], count: int = 1200, step_s: float = 10.0) -> dict[str, Any]:
    """Two metrics around `alarms`, of which one rises before each, from 200 steps before NOW."""
    begin, chance = NOW.timestamp() - 200 * step_s, np.random.default_rng(5)
    times = begin + step_s * np.arange(count)
    quiet, rising = chance.normal(size=count), chance.normal(size=count)
    for at in alarms:
        rising[(times < at) & (times >= at - 5 * step_s)] += 4
    return {
        "quiet": list(zip(times.tolist(), quiet.tolist(), strict=True)),
        "rising": list(zip(times.tolist(), rising.tolist(), strict=True)),
    }


def test_the_metric_that_rises_before_each_alarm_is_named_first(door: Door) -> None:
    alarms = [NOW.timestamp() + 300.0 * n for n in range(20)]
    body = {"metrics": samples(alarms), "alarms": alarms}
    answer = door.http.post("/api/v1/associations", json=body).json()
    first, second = answer["metrics"]
    assert (answer["alarms"], first["metric"], first["related"]) == (20, "rising", True)
    assert not second["related"]


@pytest.mark.parametrize(
    ("name", "field"),
    [("\\ud800", ""), ("x" * 1001, "metrics")],
    ids=["half a pair, in any body", "long"],
)
def test_a_metric_that_no_answer_could_name_is_refused(door: Door, name: str, field: str) -> None:
    alarms = [NOW.timestamp() + 300.0 * n for n in range(20)]
    body = json.dumps({"metrics": samples(alarms), "alarms": alarms}).replace("quiet", name)
    headers = {"content-type": "application/json"}
    answer = door.http.post("/api/v1/associations", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["field"].partition(".")[0] == field


def test_the_alarms_may_be_those_the_healer_knows_of_an_item(door: Door) -> None:
    alarms = []
    for number in range(20):
        alarms.append(door.desk.now.timestamp())
        door.desk.take(anomaly(number=number))
        door.desk.take(cleared(anomaly(number=number)))
        door.desk.later(300)
    body = {"metrics": samples(alarms), "item": "cpu.idle", "hosts": "host*"}
    answer = door.http.post("/api/v1/associations", json=body).json()
    assert answer["alarms"] == 20
    assert answer["metrics"][0]["metric"] == "rising"
    assert answer["metrics"][0]["related"]
    elsewhere = door.http.post("/api/v1/associations", json=body | {"hosts": "other*"}).json()
    assert elsewhere["alarms"] == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"alarms": [1.0], "item": "x"}, "either alarms or the item"),
        ({}, "either alarms or the item"),
        ({"alarms": [1.0], "metrics": {"a": [[1.0, 2.0]]}}, "no two samples"),
        ({"alarms": [1.0], "step_s": 0.001}, "steps of 0.001 s"),
        ({"alarms": [1.0], "metrics": {"a": "no"}}, "valid"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_fault(
    door: Door, change: dict[str, Any], problem: str
) -> None:
    answer = door.http.post("/api/v1/associations", json={"metrics": samples([])} | change)
    assert answer.status_code == 422
    assert problem in json.dumps(answer.json()["faults"])


def test_samples_come_to_equal_steps_with_gaps_where_nothing_was_measured() -> None:
    column = np.array([[130.0, 4.0], [100.0, 1.0], [110.2, 2.0], [111.0, 3.0]])
    found, begin, step_s = on_steps({"a": column, "none": np.empty((0, 2))}, 10.0)
    assert (begin, step_s) == (100.0, 10.0)
    np.testing.assert_array_equal(found["a"], [1.0, 3.0, np.nan, 4.0])
    assert np.isnan(found["none"]).all()


def test_the_command_line_reads_a_table_and_a_list_of_times(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarms = [NOW.timestamp() + 300.0 * n for n in range(20)]
    columns = samples(alarms)
    table, times = tmp_path / "metrics.csv", tmp_path / "alarms.txt"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "quiet", "rising"])
        for (at, quiet), (_, rising) in zip(columns["quiet"], columns["rising"], strict=True):
            writer.writerow([at, quiet, rising if rising < 100 else ""])
    times.write_text("\n".join(str(at) for at in alarms) + "\n")

    def call(method: str, path: str, *_: Any) -> Any:
        return door.http.request(method, f"/api/v1/{path}", json=_[-1]).json()

    monkeypatch.setattr(correlation, "call", call)
    done = CliRunner().invoke(
        healing.app, ["related", str(table), "--alarms", str(times), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["metric"] == "rising"
    table.write_text("when,a\n1,2\n")
    wrong = CliRunner().invoke(healing.app, ["related", str(table), "--item", "cpu.idle"])
    assert wrong.exit_code == 1
    assert "that failed" in wrong.stderr


@pytest.mark.parametrize("seed", range(5))
def test_what_a_real_machines_load_is_made_of_is_found_among_what_its_kernel_counts(
    seed: int,
) -> None:
    with _RECORDED.open() as file:
        rows = list(csv.DictReader(file))
    metrics = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    load = metrics["load.1m"]
    for name in ("time", "load.1m", "load.15m"):
        metrics.pop(name)
    jumps = np.flatnonzero(np.diff(load, prepend=0) > 0.6)
    alarms = [int(at) for at in jumps[np.diff(jumps, prepend=-100) > 10]]
    found = {one.metric: one for one in associate(metrics, alarms, seed=seed)}
    # The kernel's load is a mean of exactly this number; who is to run was switched to before.
    strongest = sorted(found, key=lambda name: -found[name].z)[:3]
    assert "kernel.procs.running" in strongest
    assert found["kernel.procs.running"].z > 1.8
    assert not found["disk.busy.ms"].related
    assert not found["net.lo.rx"].related
