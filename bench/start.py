"""Measures the start of one machine's stack: the time until ready, its cost, and that of idling.

``python -m bench.start`` starts ``barograph up`` in a new directory ``--rounds`` times. Seconds of
CPU are those of each process and of its children that have ended; memory is the proportional set
size, which counts a page that several processes share once in all, and beside it the resident set
size, which counts it in each. The idle stack is measured ``--idle-s`` after it was ready. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.surroundings import surroundings
from shared.embedded.stackfile import read_stack_file

_UP = [sys.executable, "-m", "shared.cli", "up", "--state"]
_DOWN = [sys.executable, "-m", "shared.cli", "down", "--state"]
_SERVERS = {"beam": "broker", "epmd": "broker", "erl": "broker", "weed": "object store"}


@dataclass(frozen=True)
class Sizes:
    """The resources that the processes of a stack have used, by the name of its part."""

    cpu_s: dict[str, float]
    pss_mb: dict[str, float]
    rss_mb: dict[str, float]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=60.0)
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-start-") as directory:
            place = Path(directory)
            place.chmod(place.stat().st_mode | 0o011)  # the users of jobs pass through
            idle_s = options.idle_s if number == options.rounds - 1 else 0.0
            rounds.append(_round(place / "state", idle_s))
            print(json.dumps(rounds[-1]), flush=True)
    ready = statistics.median(each["ready_s"] for each in rounds)
    print(json.dumps({"ready_s": ready, "rounds": rounds, **surroundings("pika", "numba")}))
    return 0


def _round(state: Path, idle_s: float) -> dict[str, Any]:
    """Start a stack, look at it when it is ready and when it has been idle, and stop it."""
    began, before = time.monotonic(), os.times()
    subprocess.run([*_UP, str(state)], check=True, stdout=subprocess.DEVNULL)
    ready_s, after = time.monotonic() - began, os.times()
    try:
        supervisor = psutil.Process(read_stack_file(state).supervisor_pid)
        ready = _sizes(supervisor)
        ready.cpu_s["up"] = round(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system,
            2,
        )
        figures = {"ready_s": round(ready_s, 2), "load": os.getloadavg()[0], **_shown(ready)}
        if idle_s:
            figures |= _idle(supervisor, idle_s)
    finally:
        subprocess.run([*_DOWN, str(state)], check=True, stdout=subprocess.DEVNULL)
    return figures


def _idle(supervisor: psutil.Process, idle_s: float) -> dict[str, Any]:
    """Wait, and give the memory then and the CPU of the second half of the time."""
    time.sleep(idle_s / 2)
    before = _sizes(supervisor)
    time.sleep(idle_s / 2)
    after = _sizes(supervisor)
    used = {name: after.cpu_s[name] - before.cpu_s[name] for name in after.cpu_s}
    shares = {name: round(200 * seconds / idle_s, 2) for name, seconds in used.items()}
    return {
        "idle_cpu_percent": round(sum(shares.values()), 1),
        "idle_cpu": shares,
        **{f"idle_{name}": value for name, value in _shown(after).items() if "cpu" not in name},
    }


def _shown(sizes: Sizes) -> dict[str, Any]:
    return {
        "cpu_s": round(sum(sizes.cpu_s.values()), 2),
        "cpu": {name: round(value, 2) for name, value in _largest(sizes.cpu_s)},
        "pss_mb": round(sum(sizes.pss_mb.values())),
        "pss": {name: round(value) for name, value in _largest(sizes.pss_mb)},
        "rss_mb": round(sum(sizes.rss_mb.values())),
    }


def _largest(parts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(parts.items(), key=lambda part: -part[1])


def _sizes(supervisor: psutil.Process) -> Sizes:
    sizes = Sizes(defaultdict(float), defaultdict(float), defaultdict(float))
    for process, name in _named(supervisor):
        try:
            times, memory = process.cpu_times(), process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        ended = times.children_user + times.children_system  # of the supervisor, the fork server
        sizes.cpu_s[name] += times.user + times.system + ended
        sizes.pss_mb[name] += memory.pss / 1e6
        sizes.rss_mb[name] += memory.rss / 1e6
    return sizes


def _named(supervisor: psutil.Process) -> Iterator[tuple[psutil.Process, str]]:
    """Each process of the stack with the name of its part."""
    yield supervisor, "supervisor"
    for process in supervisor.children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        module = next((word for word in words if word.startswith("services.")), "")
        program = Path(words[0]).name.split(".")[0] if words else ""
        if module:
            yield process, module.rpartition(".")[2]
        else:
            yield process, _SERVERS.get(program, "leashes and helpers")


if __name__ == "__main__":
    sys.exit(main())
