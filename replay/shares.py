"""A replay in shares: each worker replays some of the machines, and one program joins the results.

Every worker reads the whole recording, as the clock of virtual time is that of all machines, and
replays the machines of its share. It writes a file of lines: first what was replayed, then the
events, each with the number of its tick, and last what is kept. Joined, they are in the order, and
byte for byte what, one replay of all machines gives.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from replay.partitions import Emitted, Kept, ordered, slim
from replay.sources import UnreadableError
from services.predictor.ledger import Score
from shared.contracts.message import message_types
from shared.samples import SampleBatch

_END = b"end"


class Share(BaseModel):
    """The machines that one of several workers replays."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Counted from 0, as Kubernetes counts the pods of an indexed Job."""
    of: int

    @classmethod
    def parsed(cls, text: str) -> Self:
        """The share that is written as ``0/8``.

        Raises:
            ValueError: it is not written like this.
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(number) < int(of)):
            msg = f"a share is written as 0/8, the first of eight, and not {text!r}"
            raise ValueError(msg)
        return cls(number=int(number), of=int(of))


class Recording(BaseModel):
    """The parts that all shares of a replay have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: int
    samples: int
    begin_ms: int
    end_ms: int
    digest: str
    """Of the samples, the length of a tick and the settings."""

    @classmethod
    def of(cls, samples: SampleBatch, tick_ms: int, settings: Iterable[BaseModel]) -> Self:
        """Describe a recording and how it is replayed."""
        digest = blake2b(digest_size=16)
        for column in (samples.host_code, samples.item_code, samples.time_ms, samples.value):
            digest.update(column.tobytes())
        digest.update(orjson.dumps([tick_ms, list(samples.hosts), list(samples.items)]))
        for each in settings:
            digest.update(each.model_dump_json().encode())
        times = samples.time_ms
        return cls(
            machines=len(np.unique(samples.host_code)),
            samples=len(samples),
            begin_ms=int(times[0]) if len(times) else 0,
            end_ms=int(times[-1]) if len(times) else 0,
            digest=digest.hexdigest(),
        )


class _Head(BaseModel):
    share: Share
    recording: Recording


class _End(BaseModel):
    series: int
    scores: dict[str, Score]


def write(
    output: BinaryIO,
    share: Share,
    recording: Recording,
    steps: Iterable[list[Emitted] | list[Kept]],
) -> None:
    """Write what a share's machines say; it is whole when its last line is there."""
    output.write(_Head(share=share, recording=recording).model_dump_json().encode() + b"\n")
    for tick, step in enumerate(steps):
        for each in step:
            if isinstance(each, Kept):
                end = _End(series=each.series, scores=each.scores)
                output.write(b"%b %b\n" % (_END, end.model_dump_json().encode()))
            else:
                output.write(b"%d %d %b\n" % (tick, each.order[0], each.text or b""))


class Written:
    """A share that a worker has written.

    Raises:
        UnreadableError: it is no share.
    """

    def __init__(self, path: Path, lines: BinaryIO) -> None:
        self._path, self._lines = path, lines
        self.kept: Kept | None = None
        try:
            head = _Head.model_validate_json(lines.readline())
        except ValidationError:
            raise UnreadableError(f"{path}: it was not written by --share") from None
        self.share, self.recording = head.share, head.recording

    def __iter__(self) -> Iterator[tuple[int, Emitted]]:
        """Each event with the number of its tick."""
        for line in self._lines:
            tick, _, rest = line.rstrip(b"\n").partition(b" ")
            if tick == _END:
                end = _End.model_validate_json(rest)
                self.kept = Kept(end.series, end.scores)
                return
            turn, _, text = rest.partition(b" ")
            yield int(tick), _event(int(turn), text)
        raise UnreadableError(f"{self._path}: its end is missing; replay this share again")


def _event(turn: int, text: bytes) -> Emitted:
    values = orjson.loads(text)
    event = message_types()[values.pop("type")].model_validate(values)
    return slim(event, turn, text)


class Joined:
    """The shares of one replay, together.

    Raises:
        UnreadableError: they are not the shares of one replay, each of them once.
    """

    def __init__(self, stack: ExitStack, paths: Sequence[Path]) -> None:
        try:
            self._shares = [Written(path, stack.enter_context(path.open("rb"))) for path in paths]
        except OSError as error:
            raise UnreadableError(f"{error.filename}: {error.strerror}") from None
        self.recording = self._shares[0].recording
        if any(each.recording != self.recording for each in self._shares):
            raise UnreadableError("these shares are of different recordings or settings")
        of = self._shares[0].share.of
        if sorted(each.share.number for each in self._shares) != list(range(of)) or any(
            each.share.of != of for each in self._shares
        ):
            found = ", ".join(f"{each.share.number}/{each.share.of}" for each in self._shares)
            raise UnreadableError(f"every share is needed once; there are {found}")

    def steps(self) -> Iterator[list[Emitted] | list[Kept]]:
        """The events of each tick that has any, in order, and last what is kept."""
        merged = heapq.merge(*self._shares, key=itemgetter(0))
        for _, events in groupby(merged, key=itemgetter(0)):
            yield ordered(event for _, event in events)
        yield [each.kept for each in self._shares if each.kept is not None]
