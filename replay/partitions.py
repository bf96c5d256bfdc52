"""Runs the services' engines over virtual time, with partitions in several processes.

Machines are divided as the gateway divides them, and every partition hears the clock of each tick,
also where it has no sample: so what is said does not depend on how many partitions there are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

import numpy as np
import orjson

from replay.sources import Clock, clock_of, ticks
from services.detector.engine import Engine as Detector
from services.detector.settings import EngineSettings as DetectorSettings
from services.predictor.engine import Engine as Predictor
from services.predictor.ledger import Score
from services.predictor.settings import EngineSettings as PredictorSettings
from shared.changes import changed
from shared.contracts import Message
from shared.samples import SampleBatch
from shared.topology import partition_of

_TOGETHER = 24
"""Ticks whose events cross between processes at once."""


@dataclass(frozen=True)
class Emitted:
    """An event of a tick."""

    event: Message
    """The event without its curves: they are most of it, and only ``text`` needs them."""
    text: bytes | None
    """The whole event as a JSON line, where that was asked for."""
    order: tuple[int, str]
    """Predictions first: what both see in one tick was foretold before. Then by series."""


@dataclass(frozen=True)
class Kept:
    """The counts of a partition when the replay has ended."""

    series: int
    scores: dict[str, Score]


@dataclass(frozen=True)
class Partition:
    """The samples of some machines, and how they are judged."""

    samples: SampleBatch
    clock: Clock
    detector: DetectorSettings
    predictor: PredictorSettings
    texts: bool

    def run(self) -> Iterator[list[Emitted] | Kept]:
        """Yields each tick's events, and last what is kept."""
        detector = Detector(self.detector)
        # Replicas enough: nothing waits for its turn.
        given: dict[str, int] = {"budget_per_step": 2**31}
        if not self.texts:
            given["plotted"] = 0
        predictor = Predictor(changed(self.predictor, **given))
        for batch in ticks(self.samples, self.clock):
            events = [(0, event) for event in predictor.process(batch)]
            events += [(1, event) for event in detector.process(batch)]
            yield [self._emitted(turn, event) for turn, event in events]
        yield Kept(detector.series, predictor.episodes.ledger.scores)

    def _emitted(self, turn: int, event: Message) -> Emitted:
        text = None
        if self.texts:
            text = orjson.dumps({"type": event.TYPE, **event.model_dump(mode="json")})
        return slim(event, turn, text)


def slim(event: Message, turn: int, text: bytes | None) -> Emitted:
    """An event without its curves; predictions have the first turn in a tick."""
    curves = {"recent", "forecast"} & type(event).model_fields.keys()
    series = getattr(event, "series", None)
    order = (turn, series.text() if series else "")
    return Emitted(changed(event, **dict.fromkeys(curves, ())), text, order)


def ordered(events: Iterable[Emitted]) -> list[Emitted]:
    """The events of one tick, from whatever partitions, in their order."""
    return sorted(events, key=lambda event: event.order)


def run(
    samples: SampleBatch,
    tick_ms: int,
    settings: tuple[DetectorSettings, PredictorSettings],
    *,
    processes: int,
    texts: bool,
) -> Iterator[list[Emitted] | list[Kept]]:
    """Each tick's events in order, and last what all partitions have kept."""
    clock = clock_of(samples, tick_ms)
    number = np.array([partition_of(host, processes) for host in samples.hosts], dtype=np.int64)
    parts = [
        Partition(
            samples.select(number[samples.host_code] == at) if processes > 1 else samples,
            clock,
            *settings,
            texts,
        )
        for at in range(processes)
    ]
    with ExitStack() as stack:
        beside = [stack.enter_context(_Beside(part)) for part in parts[1:]]
        yield from _merged([parts[0].run(), *(iter(one) for one in beside)])


def run_share(
    samples: SampleBatch,
    tick_ms: int,
    settings: tuple[DetectorSettings, PredictorSettings],
    number: int,
    of: int,
) -> Iterator[list[Emitted] | list[Kept]]:
    """As ``run``, of the machines in one of several shares, by the clock of all machines."""
    mine = np.array([partition_of(host, of) == number for host in samples.hosts], dtype=bool)
    part = Partition(
        samples.select(mine[samples.host_code]), clock_of(samples, tick_ms), *settings, texts=True
    )
    yield from _merged([part.run()])


def _merged(
    parts: Sequence[Iterator[list[Emitted] | Kept]],
) -> Iterator[list[Emitted] | list[Kept]]:
    for step in zip(*parts, strict=True):
        kept = [one for one in step if isinstance(one, Kept)]
        if kept:
            yield kept
        else:
            emitted = [event for one in step if isinstance(one, list) for event in one]
            yield ordered(emitted)


class _Beside:
    """A partition in a process of its own; ends with the block."""

    def __init__(self, part: Partition) -> None:
        # A new interpreter: a fork would copy the locks of numpy's and Arrow's threads.
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._here.send(part)

    def __iter__(self) -> Iterator[list[Emitted] | Kept]:
        while True:
            try:
                ticks_: list[list[Emitted] | Kept] = self._here.recv()
            except EOFError:
                msg = "a process of the replay has ended; its error is above"
                raise RuntimeError(msg) from None
            yield from ticks_
            if isinstance(ticks_[-1], Kept):
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        self._process.join(1)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _work(pipe: Connection) -> None:
    part: Partition = pipe.recv()
    waiting: list[list[Emitted] | Kept] = []
    try:
        for step in part.run():
            waiting.append(step)
            if len(waiting) >= _TOGETHER or isinstance(step, Kept):
                pipe.send(waiting)
                waiting = []
    except BrokenPipeError:
        pass  # Whoever asked has gone.
