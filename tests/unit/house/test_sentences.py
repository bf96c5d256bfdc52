"""Texts about the code say what a thing is or does, in words that stand by themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("bench", "charts", "examples", "replay", "scripts", "services", "shared")
HALF_A_QUESTION = re.compile(
    r"(?:(?:Of|By|From|In|To|For|With) )?"
    r"(?:what|how|whether|where|which|when|whom?|whose|why|whatever|whoever|so many|so much)\b",
    re.IGNORECASE,
)
"""The beginning of half a question, such as ``How long``, in place of ``The time for which``."""
FIELD_TEXTS = {"description", "help", "summary"}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, and of every description of a field or an option."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case ast.keyword(arg=str(name), value=ast.Constant(value=str(text))):
                if name in FIELD_TEXTS:
                    yield node.value.lineno, text


def half_questions(source: str) -> list[str]:
    """The texts of a program that begin as half a question."""
    return [
        f"{line}: {text.strip().splitlines()[0]}"
        for line, text in texts(source)
        if HALF_A_QUESTION.match(text.strip())
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_text_begins_as_half_a_question(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files

    found = [
        f"{path.relative_to(ROOT)}:{each}"
        for path in files
        for each in half_questions(path.read_text())
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        'def f():\n    """How long it lasts."""\n',
        'x = 1\n"""Of which past rules are mined."""\n',
        'x = Field(description="Where to.")\n',
        'x = Option(\n    help="whether "\n    "it is"\n)\n',
    ],
)
def test_half_a_question_is_found(source: str) -> None:
    assert len(half_questions(source)) == 1


def test_a_text_with_a_subject_is_left_alone() -> None:
    assert half_questions('def f():\n    """The time that it lasts, whatever it is."""\n') == []
