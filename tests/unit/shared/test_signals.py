"""A request to end is heard at whatever moment it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from shared.signals import ENDS, on_signals


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class AskedWhileItLocks(threading.Event):
    """An event whose lock the main thread holds when the signal comes, as it does in ``wait``."""

    def wait(self, timeout: float | None = None) -> bool:
        with self._cond:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().wait(timeout)


def test_a_signal_that_comes_while_the_main_thread_begins_to_wait_ends_the_waiting() -> None:
    stop = AskedWhileItLocks()
    on_signals(stop.set)
    assert stop.wait(60)


def test_each_of_several_signals_is_acted_on() -> None:
    calls = threading.Semaphore(0)
    on_signals(calls.release)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
        assert calls.acquire(timeout=60)


def test_a_process_that_waits_without_a_limit_is_ended() -> None:
    program = """
import threading
from shared.signals import on_signals

stop = threading.Event()
on_signals(stop.set)
print("waits", flush=True)
stop.wait()
print("ended", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.terminate()
        assert process.communicate(timeout=60)[0] == "ended\n"
        assert process.returncode == 0
