"""Logs: whole from the object store, live as their chunks are announced."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from services.client.model import ReadModel
from services.client.projects import Projects
from services.client.records import ENDED
from shared.storage import NotFound, ObjectInfo, ObjectStore

_CHUNK_KEY = re.compile(r"/logs/(?P<member>[^/]+)/(?P<incarnation>\d+)/\d+\.log$")
_GRACE_S = 5.0
_AT_ONCE = 100


class Followers:
    """Wakes everybody who follows a log when something has been handled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def notify(self) -> None:
        """From any thread: there may be news."""
        with self._lock:
            for loop, event in self._waiting:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout_s: float) -> None:
        """Until the next notice, or the time-out."""
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


@dataclass(frozen=True)
class LogPart:
    """The output of one incarnation of a member: its stored chunks, in order."""

    member: str
    incarnation: int
    chunks: tuple[ObjectInfo, ...]

    @property
    def size(self) -> int:
        """Bytes."""
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

    def _news(self, job_id: str, position: int) -> list[LogEvent]:
        chunks = self._model.chunks(job_id, position, _AT_ONCE)
        return [
            LogEvent(number, chunk.member, chunk.incarnation, self._text(chunk.object_key))
            for number, chunk in enumerate(chunks, position + 1)
        ]

    def _text(self, key: str) -> str:
        try:
            return self._objects.get(self._bucket, key).decode(errors="replace")
        except NotFound:
            return ""  # removed meanwhile

    async def follow(
        self, job_id: str, position: int, followers: Followers, projects: Projects
    ) -> AsyncIterator[LogEvent | str]:
        """Chunks after ``position`` as they come; at last the job's state.

        '' is a sign of life for the connection.
        """
        deadline = None
        while True:
            news = await asyncio.to_thread(self._news, job_id, position)
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
                    yield view.state if view else "removed"
                    return
            else:
                yield ""
            await followers.wait(1.0 if deadline else 15.0)


def _order(named: tuple[str, int]) -> tuple[str, int, int]:
    """worker-2 before worker-10."""
    role, _, index = named[0].rpartition("-")
    return role, int(index) if index.isdigit() else 0, named[1]
