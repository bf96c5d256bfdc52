"""Which failures are worth another attempt."""

from __future__ import annotations

import signal

from services.task.records import Exit, JobRecord
from shared.contracts import FailureClass, retry_budgets

_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP}
_SHELL_SIGNALS = 128


def classify(end: Exit) -> FailureClass:
    """Who has to do something about it. A program that ended well is not asked for."""
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
    """Whether the job's budget for this class allows another attempt."""
    budgets = retry_budgets(record.submit.max_retries)
    return record.retries.get(failure, 0) < budgets.get(failure, 0)


def describe(name: str, end: Exit, memory: str) -> str:
    """One sentence for people."""
    if end.oom:
        return f"{name} needed more memory than its limit of {memory}"
    if end.fault:
        return f"{name}: {end.fault}"
    if end.exit_code < 0:
        return f"{name} was ended by signal {_signal_name(-end.exit_code)}"
    return f"{name} ended with exit code {end.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
