"""Logs: read from the object store, and followed live as chunks are announced."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from services.client.model import ReadModel
from services.client.projects import Projects
from services.client.records import ENDED, LogChunk
from shared.storage import NotFound, ObjectInfo, ObjectStore

_CHUNK_KEY = re.compile(r"/logs/(?P<member>[^/]+)/(?P<incarnation>\d+)/(?P<chunk>\d+)\.log$")
_BEHIND_ALL = (sys.maxsize, 0)
_GRACE_S = 5.0
_AT_ONCE = 100
_LOOK_BACK = 64
"""Chunks before a follower's position that are read again: another replica may still be storing one
that belongs there, and a clock that is set back puts new ones before old ones."""


class Followers:
    """Wakes the followers of logs when a message has been handled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def notify(self) -> None:
        """Wake all waiting threads; may be called from any thread."""
        with self._lock:
            for loop, event in self._waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait for the next call of ``notify``, or for the time-out."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(entry)
        try:
            await asyncio.wait_for(entry[1].wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)


@dataclass(frozen=True)
class LogEvent:
    """A piece of a followed log; ``position`` counts the job's chunks from 1."""

    position: int
    member: str
    incarnation: int
    text: str
    at: datetime
    """The time at which the member's launcher read it."""


@dataclass(frozen=True)
class StateEvent:
    """The state of a followed job that has not ended, sent when it changes."""

    state: str
    reason: str
    advice: str = ""
    """The event that ends its waiting, if it waits."""


@dataclass(frozen=True)
class LogPart:
    """The output of one incarnation of a member: its stored chunks, in order."""

    member: str
    incarnation: int
    chunks: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """The size in bytes."""
        return sum(info.size for info in self.chunks)


class Logs:
    """The output of jobs' members."""

    def __init__(self, model: ReadModel, objects: ObjectStore, bucket: str) -> None:
        self._model, self._objects, self._bucket = model, objects, bucket

    def parts(
        self,
        job_id: str,
        member: str | None = None,
        incarnation: int | None = None,
        *,
        previous: bool = False,
    ) -> list[LogPart]:
        """The stored logs, member by member and, of each, incarnation by incarnation.

        ``previous`` leaves of each member only the one before its newest.
        """
        below = f"jobs/{job_id}/logs/" + (f"{member}/" if member else "")
        found: dict[tuple[str, int], list[ObjectInfo]] = {}
        for info in self._objects.list(self._bucket, below):
            if hit := _CHUNK_KEY.search(info.key):
                found.setdefault((hit["member"], int(hit["incarnation"])), []).append(info)
        before = self._before_the_newest(job_id, found) if previous else {}
        return [
            LogPart(name, number, tuple(sorted(found[name, number], key=lambda info: info.key)))
            for name, number in sorted(found, key=_order)
            if incarnation in {None, number} and (not previous or before.get(name) == number)
        ]

    def _before_the_newest(self, job_id: str, found: Iterable[tuple[str, int]]) -> dict[str, int]:
        """The newest incarnation of each member that has a log and is not its present one."""
        present = self._model.incarnations(job_id)
        for name, number in found:
            present[name] = max(number, present.get(name, 1))
        return {name: number for name, number in sorted(found) if number < present[name]}

    def stored(self, job_id: str) -> list[ObjectInfo]:
        """All stored chunks, in the order of ``parts``."""
        return [info for part in self.parts(job_id) for info in part.chunks]

    def read(self, chunks: list[ObjectInfo], start: int, end: int) -> Iterator[bytes]:
        """Bytes ``start`` up to, not including, ``end`` of the chunks laid end to end."""
        position = 0
        for info in chunks:
            first, last = max(start - position, 0), min(end - position, info.size)
            if first < last:
                yield self._objects.get(self._bucket, info.key)[first:last]
            position += info.size

    def _sent_before(self, job_id: str, position: int) -> set[str]:
        """The object keys of the last chunks up to a position."""
        before, chunks = self._model.chunks(job_id, max(0, position - _LOOK_BACK), _LOOK_BACK)
        return {chunk.object_key for chunk in chunks[: max(0, position - before)]}

    def _news(self, job_id: str, position: int, sent: set[str]) -> list[LogEvent]:
        """The next unsent chunks; ``sent`` has the object keys of the last ones, and is updated."""
        start = max(0, position - _LOOK_BACK)
        before, chunks = self._model.chunks(job_id, start, _LOOK_BACK + _AT_ONCE)
        new = [chunk for chunk in chunks if chunk.object_key not in sent][:_AT_ONCE]
        sent &= {chunk.object_key for chunk in chunks}
        sent |= {chunk.object_key for chunk in new}
        left_out = max(0, before - position)
        events = [_gap(job_id, left_out, before, new[0])] if left_out and new else []
        return events + [
            LogEvent(
                number, chunk.member, chunk.incarnation, self._text(chunk.object_key), chunk.at
            )
            for number, chunk in enumerate(new, position + left_out + 1)
        ]

    def _unannounced(
        self, job_id: str, position: int, stored: list[ObjectInfo], at: datetime
    ) -> Iterator[LogEvent]:
        """Stored chunks of an ended job whose messages did not arrive in time.

        The broker was away, or whoever handles the messages is behind.
        """
        if position >= len(stored):
            return
        before, listed = self._model.chunks(job_id, 0, position)
        sent = {chunk.object_key for chunk in listed[: max(0, position - before)]}
        first = _first_listed(listed) if before else {}
        for info in stored:
            hit = _CHUNK_KEY.search(info.key)
            if before and hit and _place(hit) < first.get(hit["member"], _BEHIND_ALL):
                continue  # it was dropped from the list, as the follower was notified
            if hit and info.key not in sent:
                text = self._text(info.key)
                yield LogEvent(position, hit["member"], int(hit["incarnation"]), text, at)

    def _text(self, key: str) -> str:
        try:
            return self._objects.get(self._bucket, key).decode(errors="replace")
        except NotFound:
            return ""  # removed meanwhile

    async def follow(
        self, job_id: str, position: int, followers: Followers, projects: Projects
    ) -> AsyncIterator[LogEvent | StateEvent | str]:
        """Chunks after ``position`` as they come, and the job's state as it changes; at last
        the state it ended with.

        '' is a sign of life for the connection.
        """
        sent = await asyncio.to_thread(self._sent_before, job_id, position)
        deadline: float | None = None
        said: StateEvent | None = None
        while True:
            news = await asyncio.to_thread(self._news, job_id, position, sent)
            for event in news:
                yield event
                position = event.position
            if news:
                continue
            view = await asyncio.to_thread(self._model.job, job_id, projects)
            if view is None or view.state in ENDED:
                # The last chunks come over another queue than the end of the job.
                deadline = deadline or time.monotonic() + _GRACE_S
                stored = await asyncio.to_thread(self.stored, job_id)
                if position >= len(stored) or time.monotonic() > deadline:
                    ended = view.updated_at if view else datetime.now(UTC)
                    unannounced = self._unannounced(job_id, position, stored, ended)
                    for event in await asyncio.to_thread(list, unannounced):
                        yield event
                    yield view.state if view else "removed"
                    return
            else:
                advice = view.pending.advice if view.pending else ""
                now = StateEvent(view.state, view.reason, advice)
                yield "" if said == now else now
                said = now
            await followers.wait(1.0 if deadline else 15.0)


def _gap(job_id: str, left_out: int, before: int, following: LogChunk) -> LogEvent:
    """The sentence in place of chunks that are listed no longer."""
    text = (
        f"[{left_out} older chunks of this log are left out here;"
        f" `tshell logs {job_id}` shows the whole log]\n"
    )
    return LogEvent(before, following.member, following.incarnation, text, following.at)


def _first_listed(chunks: Iterable[LogChunk]) -> dict[str, tuple[int, int]]:
    """Incarnation and number of the first chunk of each member that is still listed."""
    first: dict[str, tuple[int, int]] = {}
    for chunk in chunks:
        place = chunk.incarnation, chunk.chunk
        first[chunk.member] = min(place, first.get(chunk.member, place))
    return first


def _place(hit: re.Match[str]) -> tuple[int, int]:
    return int(hit["incarnation"]), int(hit["chunk"])


def _order(named: tuple[str, int]) -> tuple[str, int, int]:
    """The place of a member in lists: worker-2 comes before worker-10."""
    role, _, index = named[0].rpartition("-")
    return role, int(index) if index.isdigit() else 0, named[1]
