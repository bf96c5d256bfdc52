"""No generator gives anything out while it holds a transaction or a lock.

Whoever takes the next value decides when, and perhaps in another thread: Starlette reads a streamed
answer in whichever thread is free, at the pace of the client. A lock of a thread cannot be given
back in another one, and everybody else waits meanwhile.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted([*ROOT.glob("services/**/*.py"), *ROOT.glob("shared/**/*.py")])
HOLDING = {"unit", "any_unit", "transaction", "reading", "part"}
"""Methods that open a transaction."""


def held(source: str) -> Iterator[str]:
    """The ``with`` blocks of generators in which something that is held is given out over."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if any("contextmanager" in ast.unparse(each) for each in function.decorator_list):
            continue
        for block in ast.walk(function):
            if not isinstance(block, ast.With | ast.AsyncWith):
                continue
            inner = [node for statement in block.body for node in ast.walk(statement)]
            if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in inner):
                yield from (
                    w for item in block.items if _holds(w := ast.unparse(item.context_expr))
                )


def _holds(expression: str) -> bool:
    name = expression.partition("(")[0].rpartition(".")[2].lower()
    return name.lstrip("_") in HOLDING or any(word in name for word in ("lock", "turn"))


@pytest.mark.slow
def test_nothing_is_given_out_while_it_is_held() -> None:
    found = {path.relative_to(ROOT): list(held(path.read_text())) for path in FILES}
    assert len(found) > 400
    assert {path: blocks for path, blocks in found.items() if blocks} == {}


def test_what_is_held_is_found() -> None:
    source = """
def pages(healer):
    for number in range(3):
        with healer.unit() as unit:
            yield unit.page(number)

def items(self):
    with self._lock:
        yield from self._items

@contextmanager
def unit(self):
    with self._lock:
        yield 1
"""
    assert list(held(source)) == ["healer.unit()", "self._lock"]
