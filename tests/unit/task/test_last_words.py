"""The reason of a failure is what the program said last, in its own words."""

from __future__ import annotations

import pytest

from services.task.failures import describe, last_words
from services.task.records import Exit

TYPO = (
    "epoch 1",
    "Traceback (most recent call last):",
    '  File "/work/code/train.py", line 3, in <module>',
    '    pritn("hello")',
    "    ^^^^^",
    "NameError: name 'pritn' is not defined. Did you mean: 'print'?",
)
SAID = {
    "the exception of a traceback": (TYPO, TYPO[-1]),
    "an exception of a module's": (
        (
            "Traceback (most recent call last):",
            "tensorflow.errors_impl.OpError: x",
        ),
        "tensorflow.errors_impl.OpError: x",
    ),
    "an exception that explains itself at length": (
        ("ValueError: Graph execution error:", "", "Detected at node", "  (most recent)"),
        "ValueError: Graph execution error:",
    ),
    "TensorFlow's own words after it": (
        (
            "KeyError: 'x'",
            "2026-01-01 10:00:00.123456: W tensorflow/core/x.cc:1] shutting down",
            "W0000 00:00:17 x.cc:2] bye",
            "[barograph] 2 files were not stored",
        ),
        "KeyError: 'x'",
    ),
    "a plain sentence": (("loading", "no such data set: digits", ""), "no such data set: digits"),
    "the last state of a progress bar": (("1/9\r2/9\r3/9 out of disk",), "3/9 out of disk"),
    "no terminal's commands": (("\x1b]0;x\x07ValueError: y",), "]0;xValueError: y"),
    "one of a group of exceptions": (
        (
            "  | ExceptionGroup: many (2 sub-exceptions)",
            "  +-+---------------- 1 ----------------",
            "    | ValueError: a",
            "    +---------------- 2 ----------------",
            "    | TypeError: b",
            "    +------------------------------------",
        ),
        "TypeError: b",
    ),
    "what stands above a ruler": (("no GPU was found", "=" * 60, "*** ***"), "no GPU was found"),
    "a sentence in another script": (("数据集不存在", "----"), "数据集不存在"),
    "nothing": ((), ""),
    "only noise": (("^^^^", "  "), ""),
}


@pytest.mark.parametrize("what", SAID)
def test_the_last_meaningful_line_is_found(what: str) -> None:
    lines, said = SAID[what]
    assert last_words(lines) == said


def test_it_stands_in_the_reason() -> None:
    reason = describe("worker-0", Exit(exit_code=1, last_lines=TYPO), "2Gi")
    assert reason == f"worker-0 ended with exit code 1: {TYPO[-1]}"
    assert describe("worker-0", Exit(exit_code=3), "2Gi") == "worker-0 ended with exit code 3"


@pytest.mark.parametrize(
    ("limit", "more"), [("512Mi", "1Gi"), ("2Gi", "4Gi"), ("300M", "573Mi"), ("1000", "1Mi")]
)
def test_who_needed_more_memory_is_told_what_to_try(limit: str, more: str) -> None:
    assert describe("ps-1", Exit(exit_code=-9, oom=True), limit).endswith(f"try -m {more}")
