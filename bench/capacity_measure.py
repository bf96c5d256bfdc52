"""The cost of a sample to each service of the whole platform, measured on this machine."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.path import Sender
from shared.embedded.stack import Stack

_DONE = re.compile(r'^barograph_samples_total\{outcome="(\w+)"\} (\S+)$', re.MULTILINE)
_LAG = re.compile(r"^barograph_partition_lag_seconds\{.*\} (\S+)$", re.MULTILINE)
_PARTS = ("detector", "predictor", "healer")
_CAUGHT_UP_S = 900
_IDLE_S = 30.0
_LOOKS_EVERY_S = 11.0
"""A little longer than services take between two looks at how late they are."""


def measured(series: int, rounds: int, rates: list[float]) -> dict[str, Any]:
    """CPU of each service for a sample at each rate; memory and disk for a series and a sample.

    What the services spend without any samples is measured first and taken off, so that the costs
    do not depend on how long this machine took.
    """
    directory = Path(tempfile.mkdtemp(prefix="bench-capacity-"))
    # Senders of the benchmark have no token.
    stack = Stack(directory, env={"BAROGRAPH_DETECTOR_GATEWAY_TOKEN": ""})
    stack.start()
    sender = Sender(url=stack.file.gateway_url, series=series, connections=8, probes=1)
    try:
        begun, empty = _use(stack), _stored(stack)
        first = _phase(stack, sender, 1, 0.0, {})
        held = _use(stack)
        idle = _idle(stack)
        phases = [_phase(stack, sender, rounds, rate, idle) for rate in rates]
        samples = first["samples"] + sum(phase["samples"] for phase in phases)
        return {
            "series": series,
            "phases": phases,
            "first_sight": first,
            "idle_cores": {part: round(share, 4) for part, share in idle.items()},
            "bytes_per_series": {
                part: round((held[part][1] - begun[part][1]) / series) for part in _PARTS
            },
            "stream_bytes_per_sample": round((_stored(stack) - empty) / samples, 1),
        }
    finally:
        sender.close()
        stack.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _idle(stack: Stack) -> dict[str, float]:
    """The part of a core that each process takes without samples."""
    before, begun = _use(stack), time.monotonic()
    time.sleep(_IDLE_S)
    took, after = time.monotonic() - begun, _use(stack)
    return {part: (after[part][0] - before[part][0]) / took for part in after}


def _phase(
    stack: Stack, sender: Sender, rounds: int, rate: float, idle: Mapping[str, float]
) -> dict[str, Any]:
    before, done = _use(stack), _judged(stack)
    begun = time.monotonic()
    sent = sender.ask({"seconds": 0.0, "rounds": rounds, "rate": rate})
    _catch_up(stack, done + sent["samples"])
    took = time.monotonic() - begun
    after, samples = _use(stack), sent["samples"]
    spent = {p: after[p][0] - before[p][0] - idle.get(p, 0.0) * took for p in after}
    return {
        "samples": int(samples),
        "samples_per_s": round(samples / sent["seconds"]),
        "cpu_us_per_sample": {part: round(1e6 * cpu / samples, 2) for part, cpu in spent.items()},
    }


def _catch_up(stack: Stack, target: float) -> None:
    deadline = time.monotonic() + _CAUGHT_UP_S
    while _judged(stack) < target or not _in_time(stack):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{_judged(stack):.0f} of {target:.0f} judged in time")
        time.sleep(_LOOKS_EVERY_S)


def _in_time(stack: Stack) -> bool:
    """Return whether every service has read its streams to their ends."""
    return all(float(lag) < 1 for part in _PARTS for lag in _LAG.findall(_metrics(stack, part)))


def _judged(stack: Stack) -> float:
    counts = {name: float(value) for name, value in _DONE.findall(_metrics(stack, "detector"))}
    return sum(counts.get(name, 0.0) for name in ("judged", "not_judged", "late"))


def _metrics(stack: Stack, part: str) -> str:
    return httpx.get(f"{stack.file.health[part]}/metrics", timeout=60).text


def _use(stack: Stack) -> dict[str, tuple[float, int]]:
    """(CPU seconds, resident bytes) of each part."""
    pids = {part: stack.pid(part) for part in _PARTS} | {"broker": stack.broker.pid or 0}
    found = {}
    for part, pid in pids.items():
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        cpu = sum(sum(member.cpu_times()[:2]) for member in family)
        found[part] = (cpu, sum(member.memory_info().rss for member in family))
    return found


def _stored(stack: Stack) -> int:
    """The bytes of the broker's streams on the disk."""
    found = (stack.state / "broker" / "data").rglob("*.segment")
    return sum(path.stat().st_size for path in found)
