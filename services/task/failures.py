"""Decides which failures are worth another attempt."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from services.task.records import Exit, JobRecord
from shared.contracts import FailureClass, retry_budgets, twice_the_memory

_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}
_SHELL_SIGNALS = 128
_NEAR_THE_END = 8
_LONGEST_WORDS = 300
_FRAME = " |\t\n\v\f"
"""The frame of a line: blanks, and the bars of an exception group."""
_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?$"
)
_NOISE = re.compile(
    r"""
      \d{4}-\d\d-\d\d[ ]\d\d:\d\d:\d\d\.\d+:[ ][IWE][ ]  # TensorFlow's own log
    | [IWE]\d{4}[ ]\d\d:\d\d                             # the same, of its libraries
    | WARNING:[ ]All[ ]log[ ]messages[ ]before
    | \[barograph\][ ]
    | [\W_]+$                                             # marks, frames and rulers
    | File[ ]".*",[ ]line[ ]\d+
    | Exception[ ]ignored[ ]in
    """,
    re.VERBOSE,
)
"""Lines that do not explain why a program ended."""


def classify(end: Exit) -> FailureClass:
    """The class of a failure, which says who has to act on it; not for programs that succeeded."""
    if end.oom:
        return FailureClass.OOM
    if end.preempted:
        return FailureClass.PREEMPTION
    if end.fault:
        return FailureClass.INFRASTRUCTURE if end.infrastructure else FailureClass.USER_ERROR
    number = -end.exit_code if end.exit_code < 0 else end.exit_code - _SHELL_SIGNALS
    if number in _FROM_OUTSIDE:
        return FailureClass.INFRASTRUCTURE
    # A crash in native code (SIGSEGV, SIGABRT) may be the machine's fault or the program's.
    return FailureClass.UNKNOWN if end.exit_code < 0 else FailureClass.USER_ERROR


def may_retry(record: JobRecord, failure: FailureClass) -> bool:
    """Return whether the job's budget for this class allows another attempt."""
    budgets = retry_budgets(record.submit.max_retries)
    return record.retries.get(failure, 0) < budgets.get(failure, 0)


def describe(name: str, end: Exit, memory: str) -> str:
    """One sentence for people."""
    if end.oom:
        tried = twice_the_memory(memory)
        return f"{name} needed more memory than its limit of {memory}; try -m {tried}"
    if end.fault:
        return f"{name}: {end.fault}"
    how = f"{name} ended with exit code {end.exit_code}"
    if end.exit_code < 0:
        how = f"{name} was ended by signal {_signal_name(-end.exit_code)}"
    said = last_words(end.last_lines)
    return f"{how}: {said}" if said else how


def last_words(lines: Sequence[str]) -> str:
    """The line that explains why a program ended: its exception, or its last relevant line."""
    shown = [line.rpartition("\r")[2].strip(_FRAME) for line in lines]
    telling = [line for line in shown if line and not _NOISE.match(line)]
    exceptions = [line for line in telling[-_NEAR_THE_END:] if _EXCEPTION.match(line)]
    found = (exceptions or telling or [""])[-1]
    return "".join(c for c in found if c.isprintable())[:_LONGEST_WORDS]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
