"""Evidence names the real cause, within its bounds, and gives no secret away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from services.healer.agent.evidence import Collector
from services.healer.agent.evidence.files import biggest
from services.healer.agent.evidence.found import MAX_ROWS, Found, table
from services.healer.agent.records import Command
from shared.contracts.remediation import EvidenceCollect
from shared.service.inlet import utc_now

_SECRET = "Zk9qTr4Lw7Xc2Vb8"


@contextmanager
def program(text: str, *arguments: str, first: str = "") -> Iterator[int]:
    """A program that does ``first``, says so, and goes on with ``text``; ended afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{first}\nprint(flush=True)\n{text}", *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def collector() -> Collector:
    return Collector(utc_now, threading.Event)


def row_of(found: Found, pid: int) -> dict[str, str]:
    rows = [row for row in found.rows if row["pid"] == str(pid)]
    assert rows, f"{pid} is not among {[row['command'] for row in found.rows]}"
    return rows[0]


@pytest.mark.parametrize("family", ["cpu", "load"])
def test_a_program_that_burns_the_cpu_is_named(collector: Collector, family: str) -> None:
    with program("while True: pass", "--password", _SECRET) as pid:
        found = collector.look(family)

    row = row_of(found, pid)
    assert int(row["cpu"].split()[0]) > 0
    assert "while True" in row["command"]
    assert row["command"].endswith("--password ***")
    assert _SECRET not in str(found.rows)
    percents = [int(r["cpu"].split()[0]) for r in found.rows]
    assert percents == sorted(percents, reverse=True)


def test_an_idle_program_is_no_cause_of_a_busy_cpu(collector: Collector) -> None:
    with program("input()") as pid:
        found = collector.look("cpu")

    assert str(pid) not in {row["pid"] for row in found.rows}


def test_a_program_that_fills_the_memory_is_named(collector: Collector) -> None:
    with program("input()", first="held = b'x' * 400_000_000") as pid:
        row = row_of(collector.look("memory"), pid)

    assert float(row["memory"].split()[0]) > 380
    assert row["memory"].endswith("MiB")


def test_a_program_with_many_connections_is_named_with_its_busiest_peer(
    collector: Collector,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"""
import socket
held = [socket.create_connection(('127.0.0.1', {port})) for _ in range(40)]
"""
        with program("input()", first=connect) as pid:
            accepted = [server.accept()[0] for _ in range(40)]
            try:
                row = row_of(collector.look("net"), pid)
            finally:
                for connection in accepted:
                    connection.close()

    assert row["connections"] == "40"
    assert row["busiest"] == f"127.0.0.1:{port} (40)"


def test_the_biggest_files_and_directories_are_named_biggest_first(tmp_path: Path) -> None:
    for name, size in {"a/small": 4_000, "a/b/large": 900_000, "c/middle": 90_000}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(os.urandom(size))
    os.sync()

    found = biggest(str(tmp_path))

    by_kind = {
        kind: [r["path"] for r in found.rows if r["kind"] == kind] for kind in ("directory", "file")
    }
    assert not found.truncated
    assert by_kind["file"] == [str(tmp_path / n) for n in ("a/b/large", "c/middle", "a/small")]
    assert by_kind["directory"] == [str(tmp_path / n) for n in ("a/b", "c", "a")]


def test_links_and_other_file_systems_are_not_looked_into(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "big").write_bytes(os.urandom(100_000))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "way-out").symlink_to(outside)
    (inside / "big").symlink_to(outside / "big")
    os.sync()

    assert biggest(str(inside)).rows == ()
    assert not any(r["path"].startswith("/proc/") for r in biggest("/", most_seconds=2).rows)


def test_a_bound_cuts_the_search_short_and_says_so(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}").write_bytes(b"x" * 5000)

    assert biggest(str(tmp_path), most_entries=20).truncated
    assert biggest(str(tmp_path), most_seconds=0).truncated
    assert len(biggest(str(tmp_path)).rows) <= MAX_ROWS


@pytest.mark.parametrize("path", ["/no/such/place", "relative"])
def test_a_path_that_cannot_be_looked_at_is_answered_with_the_reason(
    collector: Collector, path: str
) -> None:
    found = collector.look("disk", path)

    assert found.rows == ()
    assert found.truncated
    assert path in found.title


def test_a_table_has_a_bounded_number_of_rows() -> None:
    rows = [{"n": str(number)} for number in range(MAX_ROWS + 1)]

    assert (len(table("t", rows).rows), table("t", rows).truncated) == (MAX_ROWS, True)
    assert not table("t", rows[:-1]).truncated


@pytest.mark.parametrize(("late_s", "attempts"), [(1, 1), (-60, 4)])
def test_a_question_that_came_too_late_or_failed_too_often_is_answered_all_the_same(
    collector: Collector, late_s: float, attempts: int
) -> None:
    question = EvidenceCollect(
        command_id=str(uuid.uuid4()),
        host="h",
        family="cpu",
        reply_by=utc_now() - timedelta(seconds=late_s),
    )
    command = Command(
        command_id=question.command_id,
        type=question.TYPE,
        body=question.model_dump_json(),
        attempts=attempts,
    )

    answer = collector.perform(command)

    assert answer.rows == ()
    assert answer.title.startswith("Not collected")
