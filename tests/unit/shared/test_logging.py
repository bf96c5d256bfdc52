"""Every line of a log is one JSON object, whatever a stranger put into its fields."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

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
