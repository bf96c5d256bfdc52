"""Silence: machines and senders that have stopped reporting.

Time is the partition's own clock: the newest of all sample times and gateway heartbeats seen in
the stream, so that a replay finds the same silence at the same place. A jump of that clock means
that the whole pipeline stood still, or that a gateway's clock was set; it is not counted against
the machines.

Not every machine that stops reporting is dead:

- Prometheus ends the series of a target that it was told to forget with staleness markers. A
  machine whose newest samples are such markers has *left*: nothing is reported.
- When everything that a sender brings has stopped with the sender itself, that is one notice about
  the sender. Its machines are watched again once it is back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from services.detector.senders import KnownSenders
from shared.columns import Array, Column, Columns
from shared.machine import UNKNOWN
from shared.name_hashes import NameHashes
from shared.samples import SampleBatch
from shared.series import SeriesIndex
from shared.stream_clock import StreamClock

_DECAY = 0.9
_NEVER = np.iinfo(np.int64).min
_NO_NAME = NameHashes().of([""])
_STALE_BITS = 0x7FF0000000000002
"""Prometheus' staleness marker: a NaN that no computation gives."""
_SENDERS = 4
"""The number of senders that are remembered of one machine."""


@dataclass(frozen=True)
class Silence:
    """A machine, or a sender of several, fell silent (``alive`` false) or reports again."""

    host: str
    alive: bool
    heard_ms: int
    """The time at which it was last heard before it fell silent, which names the episode."""
    now_ms: int
    machines: int = 0
    """The number of machines a sender brings; 0: this is about the machine ``host`` itself."""


class Presence(Enum):
    """The known state of a machine."""

    HERE = auto()
    """The machine reported recently, or its state is unknown."""
    SILENT = auto()
    """The machine is reported as silent, by itself or with its sender."""
    LEFT = auto()
    """The machine's series were ended with staleness markers."""


class Liveness:
    """Records when each machine last sent a sample, on the partition's clock.

    A machine is silent after ``silent_after_ms``, or three times its own usual interval if that
    is longer. Clock steps above ``most_step_ms`` are taken as a halt of the pipeline.
    """

    def __init__(
        self, silent_after_ms: int, most_step_ms: int, most_hosts: int = 10_000_000
    ) -> None:
        self._silent_after_ms = silent_after_ms
        self._most_step_ms = most_step_ms
        self._most_hosts = most_hosts
        self._clock = StreamClock(most_step_ms)
        self._checked_ms = -1
        self._halted_ms = 0
        self._hosts = SeriesIndex(most_hosts)
        self._senders = KnownSenders()
        self._state = Columns(
            [
                Column("heard_ms", np.int64, _NEVER),
                Column("interval_ms", np.float64),
                Column("silent_ms", np.int64, _NEVER),
                Column("untold", np.bool_, added=True),
                Column("value_ms", np.int64, _NEVER, added=True),
                Column("ended_ms", np.int64, _NEVER, added=True),
                Column("sender", np.int32, -1, (_SENDERS,), added=True),
            ]
        )

    def observe(self, batch: SampleBatch, time_ms: int) -> Iterator[Silence]:
        """The hosts of ``batch`` are heard, its newest time is ``time_ms``; what changed."""
        self._advance(time_ms, batch.clock_ms)
        now, state = self.clock_ms, self._state
        rows = self._rows(batch)
        heard, silent = state["heard_ms"][rows], state["silent_ms"][rows]
        back = silent != _NEVER
        for at in np.flatnonzero(back & ~state["untold"][rows]):
            yield Silence(self._hosts.names[rows[at]][0], True, int(silent[at]), now)
        usual = ~back & (heard != _NEVER) & (now > heard)
        passed = np.where(usual, now - np.where(usual, heard, now), 0)
        interval = state["interval_ms"][rows]
        state["interval_ms"][rows] = np.where(
            usual, np.maximum(passed, interval * _DECAY), interval
        )
        state["heard_ms"][rows], state["silent_ms"][rows] = now, _NEVER
        state["untold"][rows] = False
        self._note_senders(batch)
        for sender in self._senders.heard(batch.senders):
            yield self._sender_back(sender)
        yield from self._check()

    @property
    def clock_ms(self) -> int:
        """The partition's time."""
        return self._clock.now_ms

    @property
    def running_ms(self) -> int:
        """The clock without the halts of the pipeline: what silence is measured by."""
        return self.clock_ms - self._halted_ms

    def presence(self, host: str, since_ms: float) -> Presence | None:
        """The presence of a machine; None where that is open yet.

        It is open while the machine was not heard after ``since_ms`` on ``running_ms``.
        """
        row = self._hosts.find(host, "", "")
        if row is None or host == UNKNOWN:
            return Presence.HERE
        state = self._state
        if state["silent_ms"][row] == _NEVER:
            heard_ms = int(state["heard_ms"][row]) - self._halted_ms
            return Presence.HERE if heard_ms > since_ms else None
        left = state["untold"][row] and state["ended_ms"][row] > state["value_ms"][row]
        return Presence.LEFT if left else Presence.SILENT

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
        self._note_ends(batch, codes, rows)
        return rows[rows >= 0]

    def _note_ends(
        self, batch: SampleBatch, codes: NDArray[np.int32], rows: NDArray[np.int64]
    ) -> None:
        """Per machine the newest time of a value, and of a series that was ended."""
        ended = batch.value.view(np.int64) == _STALE_BITS
        for column, which in (("value_ms", ~ended), ("ended_ms", ended)):
            if not which.any():
                continue
            newest = np.full(len(batch.hosts), _NEVER)
            np.maximum.at(newest, batch.host_code[which], batch.time_ms[which])
            state, taken = self._state[column], rows[rows >= 0]
            state[taken] = np.maximum(state[taken], newest[codes[rows >= 0]])

    def _note_senders(self, batch: SampleBatch) -> None:
        for host, name in batch.brought:
            sender = self._senders.number(name)
            row = self._hosts.row_of(host, "", "")
            self._state.grow(len(self._hosts))
            if row < 0 or sender < 0 or sender in self._state["sender"][row]:
                continue
            # The latest come first; who has not brought it for long falls out.
            self._state["sender"][row] = [sender, *self._state["sender"][row][:-1]]

    def _advance(self, time_ms: int, heartbeat_ms: int | None) -> None:
        first = self.clock_ms < 0
        step = self._clock.tell(time_ms, heartbeat_ms)
        if first or step < 0:
            self._checked_ms = self.clock_ms
        if not first and not 0 <= step <= self._most_step_ms:
            self._halted_ms += step
            heard = self._state["heard_ms"]
            heard[heard != _NEVER] += step
            self._senders.wait(step)

    def _check(self) -> Iterator[Silence]:
        now = self.clock_ms
        # Looking at every machine for every batch would cost more than the batch.
        if now - self._checked_ms < self._silent_after_ms // 20:
            return
        self._checked_ms = now
        size, state = len(self._hosts), self._state
        heard, silent = state["heard_ms"][:size], state["silent_ms"][:size]
        patience = np.maximum(self._silent_after_ms, 3 * state["interval_ms"][:size])
        left = state["ended_ms"][:size] > state["value_ms"][:size]
        named: list[int] = []
        for row in np.flatnonzero(
            (silent == _NEVER) & (heard != _NEVER) & (now - heard > patience)
        ):
            silent[row] = heard[row]
            host = self._hosts.names[row][0]
            # A sender that was heard so long after the machine has not stopped with it.
            until = heard[row] + patience[row] / 2
            stopped = self._senders.stopped_with(state["sender"][row], until)
            state["untold"][row] = left[row] or stopped is not None or host == UNKNOWN
            if stopped is not None and not left[row]:
                named.append(stopped)
            elif not state["untold"][row]:
                yield Silence(host, False, int(heard[row]), now)
        for sender in dict.fromkeys(named):
            if self._senders.fall_silent(sender):
                yield self._about(sender, alive=False)

    def _sender_back(self, sender: int) -> Silence:
        """Watch the machines again that did not come back with their sender."""
        state = self._state
        waiting = state["untold"] & (state["ended_ms"] <= state["value_ms"])
        waiting &= (state["sender"] == sender).any(axis=1)
        state["heard_ms"][waiting], state["silent_ms"][waiting] = self.clock_ms, _NEVER
        state["untold"][waiting] = False
        return self._about(sender, alive=True)

    def _about(self, sender: int, *, alive: bool) -> Silence:
        known = self._senders
        episode = known.silent_since(sender)
        machines = max(known.machines(sender), 2)
        return Silence(known.name(sender), alive, episode, self.clock_ms, machines)

    def snapshot(self) -> dict[str, Array]:
        """The state as arrays."""
        return {
            "clock": np.array([self.clock_ms, self._checked_ms]),
            "clock.told": np.array(self._clock.snapshot()),
            "halted": np.array([self._halted_ms]),
            **self._hosts.snapshot(),
            **self._state.snapshot(),
            **self._senders.snapshot(),
        }

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the state of a snapshot; KeyError or ValueError if it does not fit."""
        clock_ms, self._checked_ms = arrays["clock"].tolist()
        # Snapshots from before the clock could be set back have no more than the time.
        self._clock.restore(arrays.get("clock.told", (clock_ms, 0, -1)))
        # Snapshots from before series could end have none.
        self._halted_ms = int(arrays["halted"][0]) if "halted" in arrays else 0
        self._hosts = SeriesIndex.restored(arrays, self._most_hosts)
        self._state.restore(arrays, len(self._hosts))
        self._senders.restore(arrays)
