"""Recordings from elsewhere: replayed, or refused in words before anything is replayed."""

from __future__ import annotations

import csv
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from replay.sources import UnreadableError, read
from shared.cli.application import complete
from tests.unit.replay.recorded import BEGIN_S

ROW = {"host": "h", "item": "i", "time": BEGIN_S, "value": 1.0, "labels": ""}


def csv_of(folder: Path, **changes: Any) -> Path:
    path = folder / "recorded.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows([ROW, ROW | changes])
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host": "web server"}, "host 'web server'"),
        ({"host": "a/../b"}, "host 'a/../b'"),
        ({"host": ""}, "host ''"),
        ({"host": "h" * 300}, "host 'hhh"),
        ({"item": "a\x1b[2J"}, "item 'a"),
        ({"item": "i" * 5_000}, "item 'iii"),
        ({"labels": "[1]"}, ""),
        ({"labels": "7"}, ""),
        ({"labels": '{"a": 1}'}, "labels"),
        ({"labels": '{"a": "b\\u0007"}'}, "labels"),
        ({"labels": "{"}, ""),
        ({"time": -5}, "before 1970"),
        ({"time": 10**30}, "after the year 9999"),
        ({"time": "inf"}, "a time is no number"),
        ({"time": 9e14}, "after the year 9999"),
    ],
)
def test_a_name_or_a_time_that_no_series_has_is_refused_with_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnreadableError) as refused:
        read([csv_of(tmp_path, **changes)])
    assert reason in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 1_000


def test_names_as_machines_write_them_are_read(tmp_path: Path) -> None:
    for host in ("DB7", "db-1:9100", "[2001:db8::1]:9100", "10.0.0.1", "a.b-c_d"):
        assert len(read([csv_of(tmp_path, host=host, labels='{"mount": "/[x]"}')])) == 2


RANGES: list[Any] = [
    None,
    [],
    7,
    "result",
    {"data": 7},
    {"data": {"result": 7}},
    {"data": {"result": [7]}},
    {"data": {"result": [{"metric": [], "values": [[1, "1"]]}]}},
    {"data": {"result": [{"metric": {"__name__": "i"}, "values": 5}]}},
    {"data": {"result": [{"metric": {"__name__": "i"}, "values": [[1]]}]}},
    {"data": {"result": [{"metric": {"__name__": "i"}, "values": [["x", "1"]]}]}},
    {"data": {"result": [{"metric": {"__name__": 5, "instance": "h"}, "values": [[1, "1"]]}]}},
    {"data": {"result": [{"metric": {"__name__": "i", "instance": 5}, "values": [[1, "1"]]}]}},
    {"data": {"result": [{"metric": {"__name__": "i"}, "values": [[1e300, "1"]]}]}},
]


@pytest.mark.parametrize("answer", RANGES)
def test_an_answer_that_is_none_of_a_range_query_is_refused(tmp_path: Path, answer: Any) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer))
    with pytest.raises(UnreadableError, match=r"answer\.json"):
        read([path])


@pytest.mark.parametrize("name", ["host", "item", "time", "value", "labels"])
def test_columns_of_other_types_are_refused_or_read(tmp_path: Path, name: str) -> None:
    others = [
        pa.array([[1], [2]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"\xff", b"a"]),
        pa.array([True, None]),
        pa.array([None, None]),
        pa.array([2**62, -(2**62)]),
    ]
    usual = {each: pa.array([value, value]) for each, value in ROW.items()}
    path = tmp_path / "recorded.parquet"
    for other in others:
        parquet.write_table(pa.table(usual | {name: other}), path)
        with suppress(UnreadableError):  # in words; anything else would be a traceback
            assert len(read([path])) == 2


@pytest.mark.slow
def test_items_are_shown_as_they_are_and_not_as_markup(tmp_path: Path) -> None:
    item, noise, path = "[/red]disk[b]x", random.Random(1), tmp_path / "r.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["host", "item", "time", "value"])
        for hour in range(400):
            value = (40 if hour < 300 else 99) + noise.random()
            writer.writerow(["h", item, BEGIN_S + 3600 * hour, value])
    done = CliRunner().invoke(complete(), ["replay", str(path), "--tick", "3600"])
    assert done.exit_code == 0, done.exception
    assert item in done.output
