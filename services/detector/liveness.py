"""Silence: which machines that reported have stopped to.

Time is the partition's own clock: the newest of all sample times and gateway heartbeats seen in
the stream, so that a replay finds the same silence at the same place. A jump of that clock means
that the whole pipeline stood still, not the machines: it is not counted against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.columns import Array, Column, Columns
from shared.name_hashes import NameHashes
from shared.samples import SampleBatch
from shared.series import SeriesIndex

_DECAY = 0.9
_NEVER = np.iinfo(np.int64).min
_NO_NAME = NameHashes().of([""])


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

    def __init__(
        self, silent_after_ms: int, most_step_ms: int, most_hosts: int = 10_000_000
    ) -> None:
        self._silent_after_ms = silent_after_ms
        self._most_step_ms = most_step_ms
        self._most_hosts = most_hosts
        self.clock_ms = -1
        self._checked_ms = -1
        self._hosts = SeriesIndex(most_hosts)
        self._state = Columns(
            [
                Column("heard_ms", np.int64, _NEVER),
                Column("interval_ms", np.float64),
                Column("silent_ms", np.int64, _NEVER),
            ]
        )

    def observe(self, batch: SampleBatch, time_ms: int) -> Iterator[Silence]:
        """The hosts of ``batch`` are heard, its newest time is ``time_ms``; what changed."""
        self._advance(time_ms)
        now, state = self.clock_ms, self._state
        rows = self._rows(batch)
        heard, silent = state["heard_ms"][rows], state["silent_ms"][rows]
        back = silent != _NEVER
        for at in np.flatnonzero(back):
            yield Silence(self._hosts.names[rows[at]][0], True, int(silent[at]), now)
        usual = ~back & (heard != _NEVER) & (now > heard)
        passed = np.where(usual, now - np.where(usual, heard, now), 0)
        interval = state["interval_ms"][rows]
        state["interval_ms"][rows] = np.where(
            usual, np.maximum(passed, interval * _DECAY), interval
        )
        state["heard_ms"][rows], state["silent_ms"][rows] = now, _NEVER
        yield from self._check()

    def _rows(self, batch: SampleBatch) -> NDArray[np.int64]:
        """The rows of the hosts that have a sample, in order of the batch's list of them."""
        there = np.zeros(len(batch.hosts), dtype=np.bool_)
        there[batch.host_code] = True
        codes = np.flatnonzero(there).astype(np.int32)
        zero = np.zeros(len(codes), dtype=np.int32)
        known = batch.hashes and (batch.hashes[0], _NO_NAME, _NO_NAME)
        one_each = SampleBatch(
            batch.hosts,
            [""],
            [""],
            codes,
            zero,
            zero,
            zero.astype(np.int64),
            zero.astype(np.float64),
            None,
            known,
        )
        rows = self._hosts.resolve(one_each)
        self._state.grow(len(self._hosts))
        return rows[rows >= 0]

    def _advance(self, time_ms: int) -> None:
        if self.clock_ms < 0:
            self.clock_ms = self._checked_ms = time_ms
        step = time_ms - self.clock_ms
        if step <= 0:
            return
        self.clock_ms = time_ms
        if step > self._most_step_ms:
            heard = self._state["heard_ms"]
            heard[heard != _NEVER] += step

    def _check(self) -> Iterator[Silence]:
        now = self.clock_ms
        # Looking at every machine for every batch would cost more than the batch.
        if now - self._checked_ms < self._silent_after_ms // 20:
            return
        self._checked_ms = now
        size = len(self._hosts)
        heard, silent = self._state["heard_ms"][:size], self._state["silent_ms"][:size]
        patience = np.maximum(self._silent_after_ms, 3 * self._state["interval_ms"][:size])
        for row in np.flatnonzero((silent == _NEVER) & (now - heard > patience)):
            silent[row] = heard[row]
            yield Silence(self._hosts.names[row][0], False, int(heard[row]), now)

    def snapshot(self) -> dict[str, Array]:
        """The state as arrays."""
        return {
            "clock": np.array([self.clock_ms, self._checked_ms]),
            **self._hosts.snapshot(),
            **self._state.snapshot(),
        }

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the state of a snapshot; KeyError or ValueError if it does not fit."""
        self.clock_ms, self._checked_ms = arrays["clock"].tolist()
        self._hosts = SeriesIndex.restored(arrays, self._most_hosts)
        self._state.restore(arrays, len(self._hosts))
