"""Every line of a log is one JSON object, whatever a stranger put into its fields."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from shared import log_lines
from shared.observe import configure_logging


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    before = structlog.get_config()
    configure_logging()
    yield written
    structlog.configure(**before)


@pytest.mark.parametrize(
    "value",
    ["half \ud800", 2**70, float("nan"), {1: "a"}, datetime(2026, 1, 1, tzinfo=UTC), b"raw", {"x"}],
    ids=repr,
)
def test_a_line_is_json_whatever_its_fields_hold(lines: io.StringIO, value: object) -> None:
    structlog.get_logger("test").info("something_happened", before="ä", value=value, after=1)
    (line,) = lines.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"]) == ("something_happened", "info")
    assert (found["before"], found["after"]) == ("ä", 1)


def test_lines_of_a_block_are_written_in_one_piece_when_it_ends(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    log.info("before")
    with log_lines.together(), log_lines.together():
        log.info("first")
        log.debug("not shown")
        log.info("second")
        assert _events(lines) == ["before"]
    assert _events(lines) == ["before", "first", "second"]
    log.info("after")
    assert _events(lines) == ["before", "first", "second", "after"]


def test_a_warning_is_written_at_once_with_the_lines_before_it(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    with log_lines.together():
        log.info("first")
        log.warning("second")
        assert _events(lines) == ["first", "second"]
        log.info("third")
        assert _events(lines) == ["first", "second"]
    assert _events(lines) == ["first", "second", "third"]


def test_lines_of_a_block_that_fails_are_written(lines: io.StringIO) -> None:
    def work() -> None:
        with log_lines.together():
            structlog.get_logger("test").info("first")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert _events(lines) == ["first"]


def test_a_block_gathers_the_lines_of_its_own_thread(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    with log_lines.together():
        log.info("first")
        other = threading.Thread(target=log.info, args=("of another thread",))
        other.start()
        other.join()
        assert _events(lines) == ["of another thread"]
    assert _events(lines) == ["of another thread", "first"]


def _events(lines: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
