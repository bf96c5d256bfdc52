"""Silence: which machines that reported have stopped to.

Time is the partition's own clock: the newest of all sample times and gateway heartbeats seen in
the stream, so that a replay finds the same silence at the same place. A jump of that clock means
that the whole pipeline stood still, not the machines: it is not counted against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

_DECAY = 0.9


@dataclass
class _Host:
    heard_ms: int
    interval_ms: float = 0.0
    silent_since_ms: int | None = None


@dataclass(frozen=True)
class Silence:
    """A machine fell silent (``alive`` false) or reports again."""

    host: str
    alive: bool
    heard_ms: int
    """When it was last heard before it fell silent: names the episode."""
    now_ms: int


class Liveness:
    """When each machine was last heard, on the partition's clock.

    A machine is silent after ``silent_after_ms``, or three times its own usual interval if that
    is longer. Clock steps above ``most_step_ms`` are taken as a halt of the pipeline.
    """

    def __init__(self, silent_after_ms: int, most_step_ms: int) -> None:
        self._silent_after_ms = silent_after_ms
        self._most_step_ms = most_step_ms
        self.clock_ms = -1
        self._hosts: dict[str, _Host] = {}
        self._checked_ms = -1

    def observe(self, hosts: Iterable[str], time_ms: int) -> Iterator[Silence]:
        """``hosts`` are heard in a batch whose newest time is ``time_ms``; what changed."""
        self._advance(time_ms)
        now = self.clock_ms
        for name in hosts:
            host = self._hosts.get(name)
            if host is None:
                self._hosts[name] = _Host(now)
                continue
            if host.silent_since_ms is not None:
                yield Silence(name, True, host.silent_since_ms, now)
                host.silent_since_ms = None
            elif now > host.heard_ms:
                host.interval_ms = max(now - host.heard_ms, host.interval_ms * _DECAY)
            host.heard_ms = now
        yield from self._check()

    def _advance(self, time_ms: int) -> None:
        if self.clock_ms < 0:
            self.clock_ms = self._checked_ms = time_ms
        step = time_ms - self.clock_ms
        if step <= 0:
            return
        self.clock_ms = time_ms
        if step > self._most_step_ms:
            for host in self._hosts.values():
                host.heard_ms += step

    def _check(self) -> Iterator[Silence]:
        now = self.clock_ms
        # Looking at every machine for every batch would cost more than the batch.
        if now - self._checked_ms < self._silent_after_ms // 20:
            return
        self._checked_ms = now
        for name, host in self._hosts.items():
            patience = max(self._silent_after_ms, 3 * host.interval_ms)
            if host.silent_since_ms is None and now - host.heard_ms > patience:
                host.silent_since_ms = host.heard_ms
                yield Silence(name, False, host.heard_ms, now)

    def snapshot(self) -> dict[str, NDArray[np.uint8]]:
        """The state as an array of bytes."""
        hosts = {n: [h.heard_ms, h.interval_ms, h.silent_since_ms] for n, h in self._hosts.items()}
        body = orjson.dumps([self.clock_ms, self._checked_ms, hosts])
        return {"hosts": np.frombuffer(body, dtype=np.uint8)}

    def restore(self, arrays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Take the state of a snapshot."""
        self.clock_ms, self._checked_ms, hosts = orjson.loads(arrays["hosts"].tobytes())
        self._hosts = {name: _Host(*fields) for name, fields in hosts.items()}
