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
from typing import Annotated, BinaryIO, Self

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from replay.partitions import Emitted, Kept, ordered, slim
from replay.sources import UnreadableError
from replay.version import replay_version
from services.predictor.ledger import Score
from shared.contracts.message import message_types
from shared.samples import SampleBatch

_END = b"end"
_LONGEST_LINE = 64 * 2**20
"""Bytes; no event with its curves is nearly as long."""
_MOST_SHARES, _MAX_TOLD = 100_000, 20
_TURNS = (b"0", b"1")
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Time = Annotated[int, Field(gt=-(2**63), lt=2**63)]


class Share(BaseModel):
    """The machines that one of several workers replays."""

    model_config = ConfigDict(frozen=True)

    number: _Count
    """Counted from 0, as Kubernetes counts the pods of an indexed Job."""
    of: Annotated[int, Field(ge=1, le=_MOST_SHARES)]

    @classmethod
    def parsed(cls, text: str) -> Self:
        """The share that is written as ``0/8``.

        Raises:
            ValueError: it is not written like this.
        """
        number, _, of = text.partition("/")
        try:
            share = cls.model_validate({"number": number, "of": of})
        except ValidationError:
            share = None
        if share is None or share.number >= share.of:
            msg = f"a share is written as 0/8, the first of eight, and not {text[:100]!r}"
            raise ValueError(msg)
        return share


class Recording(BaseModel):
    """The parts that all shares of a replay have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: _Count
    samples: _Count
    begin_ms: _Time
    end_ms: _Time
    digest: str
    """The digest of the samples, the length of a tick and the settings."""

    @classmethod
    def of(cls, samples: SampleBatch, tick_ms: int, settings: Iterable[BaseModel]) -> Self:
        """Describe a recording and how it is replayed."""
        digest = blake2b(digest_size=16)
        codes = (samples.host_code, samples.item_code, samples.label_code)
        for column in (*codes, samples.time_ms, samples.value):
            digest.update(column.tobytes())
        names = [list(each) for each in (samples.hosts, samples.items, samples.labels)]
        digest.update(orjson.dumps([tick_ms, *names]))
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
    version: str = Field(default="an earlier version", max_length=1_000)
    """Of the program that replayed it."""


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
    head = _Head(share=share, recording=recording, version=replay_version())
    output.write(head.model_dump_json().encode() + b"\n")
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
            head = _Head.model_validate_json(lines.readline(_LONGEST_LINE))
        except ValidationError:
            raise UnreadableError(f"{path}: it was not written by --share") from None
        self.share, self.recording, self.version = head.share, head.recording, head.version

    def __iter__(self) -> Iterator[tuple[int, Emitted]]:
        """Each event with the number of its tick.

        Raises:
            UnreadableError: a line is none that ``write`` writes, or the last one is missing.
        """
        number, before = 1, 0
        while line := self._lines.readline(_LONGEST_LINE):
            number += 1
            try:
                found = _line(line, before)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                text = f"line {number} was not written by --share of this version"
                raise UnreadableError(f"{self._path}: {text}") from None
            if isinstance(found, Kept):
                self.kept = found
                return
            before, _ = found
            yield found
        raise UnreadableError(f"{self._path}: its end is missing; replay this share again")


def _line(line: bytes, before: int) -> tuple[int, Emitted] | Kept:
    """The event of a line with its tick, which does not come ``before`` that of the last one.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is none that ``write`` writes.
    """
    if not line.endswith(b"\n"):
        raise ValueError("a line has no end")
    tick, _, rest = line.rstrip(b"\n").partition(b" ")
    if tick == _END:
        end = _End.model_validate_json(rest)
        return Kept(end.series, end.scores)
    turn, _, text = rest.partition(b" ")
    if turn not in _TURNS or not tick.isdigit() or int(tick) < before:
        raise ValueError("it is out of order")
    return int(tick), _event(int(turn), text)


def _event(turn: int, text: bytes) -> Emitted:
    values = orjson.loads(text)
    event = message_types()[values.pop("type")].model_validate(values)
    return slim(event, turn, text)


class Joined:
    """The shares of one replay, together.

    Raises:
        UnreadableError: they are not the shares of one replay by one version, each of them once.
    """

    def __init__(self, stack: ExitStack, paths: Sequence[Path]) -> None:
        try:
            self._shares = [Written(path, stack.enter_context(path.open("rb"))) for path in paths]
        except OSError as error:
            raise UnreadableError(f"{error.filename}: {error.strerror}") from None
        self.recording = self._shares[0].recording
        # Settings of different versions differ, too.
        self._check_versions()
        if any(each.recording != self.recording for each in self._shares):
            raise UnreadableError("these shares are of different recordings or settings")
        self._check_numbers()

    def _check_versions(self) -> None:
        """Events of another version may differ in each byte, whatever the recording."""
        by_version: dict[str, list[str]] = {}
        for each in self._shares:
            by_version.setdefault(each.version, []).append(_numbered(each.share))
        if len(by_version) > 1:
            told = "; ".join(f"{_some(of)} by {name}" for name, of in by_version.items())
            raise UnreadableError(
                f"these shares were replayed by different versions: {told};"
                " replay all of them again with one"
            )

    def _check_numbers(self) -> None:
        of, found = self._shares[0].share.of, [each.share for each in self._shares]
        whole = len(found) == of and {each.number for each in found} == set(range(of))
        if not whole or any(each.of != of for each in found):
            told = _some([_numbered(each) for each in found])
            raise UnreadableError(f"every share is needed once; there are {told}")

    def steps(self) -> Iterator[list[Emitted] | list[Kept]]:
        """The events of each tick that has any, in order, and last what is kept."""
        merged = heapq.merge(*self._shares, key=itemgetter(0))
        for _, events in groupby(merged, key=itemgetter(0)):
            yield ordered(event for _, event in events)
        yield [each.kept for each in self._shares if each.kept is not None]


def _numbered(share: Share) -> str:
    return f"{share.number}/{share.of}"


def _some(names: Sequence[str]) -> str:
    """The names, of very many only the first."""
    left = len(names) - _MAX_TOLD
    return ", ".join(names[:_MAX_TOLD]) + (f" and {left} more" if left > 0 else "")
