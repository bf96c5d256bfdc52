"""A replay says what the services would have said, from any kind of file, the same every time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from replay.sources import UnreadableError, clock_of, read, ticks
from shared.cli.application import complete
from tests.unit.replay.recorded import BEGIN_S, DISK, POLICY, disk_rows, disk_values, write_parquet


def _csv(path: Path) -> Path:
    lines = [f"{host},{item},{time},{value!r}" for host, item, time, value in disk_rows()]
    path.write_text("\n".join(["host,item,time,value", *lines]) + "\n")
    return path


def _prometheus(path: Path) -> Path:
    result = [
        {
            "metric": {"__name__": DISK, "instance": f"{host}:9100", "job": "node"},
            "values": [[BEGIN_S + 3600 * k, repr(float(v))] for k, v in enumerate(values)],
        }
        for host, values in disk_values().items()
    ]
    path.write_text(json.dumps({"status": "success", "data": {"result": result}}))
    return path


def _run(*arguments: str) -> dict:
    done = CliRunner().invoke(
        complete(), ["replay", *arguments, "--json", "--policy", json.dumps(POLICY)]
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Replayed:
    """What one replay of the recorded file said."""

    result: dict
    events: bytes


def _replayed(folder: Path, processes: int) -> Replayed:
    path, written = write_parquet(folder / "recorded.parquet"), folder / f"{processes}.jsonl"
    result = _run(str(path), "--processes", str(processes), "--events", str(written))
    return Replayed(result, written.read_bytes())


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return _replayed(tmp_path_factory.mktemp("replay"), 1)


def test_it_tells_alarms_with_and_without_the_system(replayed: Replayed) -> None:
    found = replayed.result
    assert (found["machines"], found["series"], found["samples"]) == (3, 3, 450)
    disk = found["items"][DISK]
    assert (disk["alarms_without"], disk["alarms_with"]) == (2, 1)
    assert disk["reduction"] == 0.5
    assert disk["missed_rate"] == 0.5
    assert disk["accuracy"] == 1
    assert disk["false_per_machine_week"] == 0
    assert disk["lead_hours"] > 6


def test_every_kind_of_file_gives_the_same_samples(tmp_path: Path) -> None:
    found = [
        read([path])
        for path in (
            _csv(tmp_path / "recorded.csv"),
            write_parquet(tmp_path / "recorded.parquet"),
            _prometheus(tmp_path / "range.json"),
        )
    ]
    for other in found[1:]:
        assert (other.hosts, other.items) == (found[0].hosts, found[0].items)
        np.testing.assert_array_equal(other.time_ms, found[0].time_ms)
        np.testing.assert_array_equal(other.value, found[0].value)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_run_says_the_same_and_so_do_partitions_side_by_side(
    replayed: Replayed, tmp_path: Path, processes: int
) -> None:
    again = _replayed(tmp_path, processes)
    assert again.result == replayed.result
    assert again.events == replayed.events
    assert again.events


def test_probabilities_are_scored_when_their_time_has_come(replayed: Replayed) -> None:
    disk = replayed.result["items"][DISK]
    assert 0 <= disk["brier"] < 0.2
    assert disk["brier_skill"] is not None


def test_events_are_written_as_they_would_have_been_published(replayed: Replayed) -> None:
    lines = [json.loads(line) for line in replayed.events.splitlines()]
    predicted = [line for line in lines if line["type"] == "alarm.predicted"]
    assert predicted[0]["series"]["host"] == "a"
    assert any(line["type"] == "anomaly.detected" for line in lines)


def test_a_table_is_printed_for_people(tmp_path: Path) -> None:
    done = CliRunner().invoke(complete(), ["replay", str(_csv(tmp_path / "recorded.csv"))])
    assert done.exit_code == 0
    assert "Alarms with and without the system" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "host,time\nh,1\n", "no column item, value"),
        ("a.txt", "", ".txt suffix"),
        ("a.json", "{", "a.json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UnreadableError, match=said):
        read([path])
    done = CliRunner().invoke(complete(), ["replay", str(path)])
    assert done.exit_code == 2
    assert "cannot replay" in done.stderr


def test_times_may_be_seconds_milliseconds_or_texts(tmp_path: Path) -> None:
    texts = ["1700000000", "1700000000000", "2023-11-14T22:13:20Z"]
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"host,item,time,value\nh,i,{text},1\n")
        assert read([path]).time_ms.tolist() == [1_700_000_000_000]


def test_virtual_time_goes_in_order_tick_by_tick(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("host,item,time,value\nh,i,65,3\nh,i,5,1\nh,i,30,2\nh,i,190,4\n")
    samples = read([path])
    found = list(ticks(samples, clock_of(samples, 60_000)))
    assert [batch.value.tolist() for batch in found] == [[1, 2], [3], [4]]
    assert [batch.clock_ms for batch in found] == [30_000, 65_000, 190_000]
