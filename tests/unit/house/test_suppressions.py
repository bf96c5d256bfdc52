"""A suppression of a checker says in words why the checker is wrong there."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("bench", "charts", "examples", "replay", "scripts", "services", "shared", "tests")
MARK = re.compile(r"\bnoqa\b|\btype:\s*ignore\b|\bpragma:|\bfmt:\s*(?:skip|off)\b|\bpyright:")
_CODES = "[A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*"
_RULES = "[a-z-]+(?:, ?[a-z-]+)*"
REASONED = re.compile(
    rf"# (?:ruff: )?(?:noqa: {_CODES} - |type: ignore\[{_RULES}\] +# )(?P<reason>\S.*)"
)
"""A suppression with the codes that it suppresses, and a reason behind them."""
MIN_REASON = 3
"""The fewest letters of a reason: ``ok`` is none."""


def unreasoned(source: str) -> list[str]:
    """The suppressions in a program's comments that lack a code or a reason."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or not MARK.search(token.string):
            continue
        match = REASONED.fullmatch(token.string)
        if match is None or len(re.findall(r"[^\W\d_]", match["reason"])) < MIN_REASON:
            found.append(f"{token.start[0]}: {token.string}")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_suppression_has_a_code_and_a_reason(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files

    found = [
        f"{path.relative_to(ROOT)}:{each}"
        for path in files
        for each in unreasoned(path.read_text())
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: S101",
        "# noqa: S101 - ok",
        "# noqa: S101 -",
        "# type: ignore",
        "# type: ignore[misc]",
        "# type: ignore # of smtplib's session",
        "# pragma: no cover",
        "# fmt: skip",
        "# fmt: off",
    ],
)
def test_a_suppression_without_a_code_or_a_reason_is_found(comment: str) -> None:
    assert unreasoned(f"x = 1  {comment}\n") == [f"1: {comment}"]


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: S101 - add_alternative has made it, above",
        "# noqa: B017, PT011 - each program has its own",
        "# type: ignore[misc] # of smtplib's session, which it is mixed into",
        "# type: ignore[arg-type]  # None: not to be imported",
        "# ruff: noqa: PLR2004 - the formats' field numbers",
        "# a comment about pragmas",
    ],
)
def test_a_suppression_with_a_reason_is_left_alone(comment: str) -> None:
    assert unreasoned(f"x = 1  {comment}\n") == []
