"""The senders of samples, known to a partition from the gateways' heartbeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.columns import Array, Column, Columns
from shared.samples import Sender

_MAX_SENDERS = 10_000
_NEVER = np.iinfo(np.int64).min
_NAMES = "sender.names"


class KnownSenders:
    """The last report of each sender at any gateway, and whether its silence was reported."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._state = Columns(
            [
                Column("heard_ms", np.int64, _NEVER),
                Column("machines", np.int32),
                Column("silent_ms", np.int64, _NEVER),
                Column("last_silent_ms", np.int64, _NEVER),
            ]
        )

    def number(self, name: str) -> int:
        """The number of a sender, a new one where it is new; -1: there are too many."""
        if name not in self._numbers and len(self._numbers) >= _MAX_SENDERS:
            return -1
        found = self._numbers.setdefault(name, len(self._numbers))
        self._state.grow(len(self._numbers))
        return found

    def name(self, sender: int) -> str:
        """The sender's name."""
        return list(self._numbers)[sender]

    def machines(self, sender: int) -> int:
        """Return how many machines it brings."""
        return int(self._state["machines"][sender])

    def silent_since(self, sender: int) -> int:
        """Return when it was last heard before its last silence: names the episode."""
        return int(self._state["last_silent_ms"][sender])

    def heard(self, marks: Sequence[Sender]) -> Iterator[int]:
        """Take a gateway's word of its senders; those whose reported silence is over."""
        state = self._state
        for mark in marks:
            sender = self.number(mark.name)
            if sender < 0:
                continue
            news = mark.heard_ms > state["heard_ms"][sender]
            state["heard_ms"][sender] = max(mark.heard_ms, state["heard_ms"][sender])
            state["machines"][sender] = max(mark.machines, state["machines"][sender])
            if news and state["silent_ms"][sender] != _NEVER:
                state["silent_ms"][sender] = _NEVER
                yield sender

    def wait(self, step_ms: int) -> None:
        """The whole path stood still for ``step_ms``, or its clock was set by it."""
        heard = self._state["heard_ms"]
        heard[heard != _NEVER] += step_ms

    def stopped_with(self, senders: NDArray[np.int32], until_ms: float) -> int | None:
        """The last report of a machine's ``senders``, if none has reported after ``until_ms``.

        None, too, for a sender of that one machine alone: then the machine itself is silent.
        """
        known = senders[senders >= 0]
        known = known[self._state["heard_ms"][known] != _NEVER]
        if not len(known) or (self._state["heard_ms"][known] > until_ms).any():
            return None
        last = int(known[np.argmax(self._state["heard_ms"][known])])
        return last if self._state["machines"][known].max() > 1 else None

    def fall_silent(self, sender: int) -> bool:
        """Note that its silence is reported; false: it was before."""
        state = self._state
        if state["silent_ms"][sender] != _NEVER:
            return False
        state["silent_ms"][sender] = state["last_silent_ms"][sender] = state["heard_ms"][sender]
        return True

    def snapshot(self) -> dict[str, Array]:
        """The state as arrays."""
        names = np.frombuffer(orjson.dumps(list(self._numbers)), dtype=np.uint8)
        return {_NAMES: names} | {f"sender.{k}": v for k, v in self._state.snapshot().items()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the state of a snapshot; one from before there were senders has none."""
        if _NAMES not in arrays:
            return
        names = orjson.loads(arrays[_NAMES].tobytes())
        self._numbers = {name: number for number, name in enumerate(names)}
        prefix = "sender."
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        self._state.restore(own, len(names))
