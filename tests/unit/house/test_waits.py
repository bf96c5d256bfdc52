"""No test fails because the machine was busy when it waited or made up its examples."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
_MIN_S, _PAUSE_S = 60.0, 1.0
_WAITING = {"wait", "join", "result", "acquire", "communicate", "wait_ready"}
_OTHERS = {
    "hostile/test_receivers.py": "what is tried is that the product gives up in this time",
    "cluster": "a real Kubernetes, run where its makers see to it that there is room",
}
"""Where a short limit is meant, with the reason."""


def limits(tree: ast.AST) -> list[tuple[int, float]]:
    """Line and seconds of the limits that a call gives as a number: of waiting, or of an answer."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = [word.value for word in call.keywords if word.arg in {"timeout", "timeout_s"}]
        if name in _WAITING:
            given += call.args
        numbers = (part.value for part in given if isinstance(part, ast.Constant))
        found += [(call.lineno, float(each)) for each in numbers if type(each) in {int, float}]
    return found


def short(source: str) -> list[int]:
    """Lines that wait longer than a pause, and shorter than a busy machine may take."""
    return [line for line, limit in limits(ast.parse(source)) if _PAUSE_S < limit < _MIN_S]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("assert begun.wait(30)", [1]),
        ("thread.join(timeout=5)", [1]),
        ("bus.wait_ready(20)", [1]),
        ("\nhttpx.get(url, timeout=2)", [2]),
        ("assert begun.wait(600)\nstop.wait(0.05)\n', '.join(names)\nthread.join()", []),
    ],
)
def test_short_limits_are_found(source: str, lines: list[int]) -> None:
    assert short(source) == lines


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of each file of tests that runs wherever tests run."""
    for path in sorted(TESTS.rglob("*.py")):
        if not any(path.is_relative_to(TESTS / other) for other in _OTHERS):
            yield str(path.relative_to(TESTS)), path.read_text()


@pytest.mark.slow
def test_no_test_waits_for_less_than_a_minute() -> None:
    assert [f"{name}:{line}" for name, text in sources() for line in short(text)] == []


def test_no_test_is_refused_for_examples_that_are_made_up_slowly() -> None:
    """A list of its own replaces that of the profile in tests/conftest.py."""
    lists = [
        (name, found)
        for name, text in sources()
        for found in re.findall(r"suppress_health_check=([^=]*?\]|list\(HealthCheck\))", text)
    ]
    assert len(lists) > 5
    assert [name for name, found in lists if not re.search("too_slow|list", found)] == []
