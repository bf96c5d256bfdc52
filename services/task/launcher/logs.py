"""The program's output: split into chunks, kept on disk until stored, published live.

A chunk is closed after ``FLUSH_S`` or at ``MAX_BYTES``, written to the spool, put into the
object store, announced, and only then deleted. So neither the store nor the broker being away
stops the program or loses a line; only a spool that is full, or a disk, makes it wait.
"""

from __future__ import annotations

import codecs
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from shared.storage import StorageError

log = structlog.get_logger(__name__)

FLUSH_S = 1.0
MAX_BYTES = 200 * 1024
"""Below 256 KiB also when cut characters are completed."""
_LAST_LINES = 20
_LAST_LINE_LENGTH = 500
_MAX_SPOOLED = 2000
_RETRY_S = 1.0
OURS = "[barograph] "

Ship = Callable[[int, str], None]
"""Puts chunk number and text into the store and announces it; raises StorageError."""


class LogPump:
    """Carries everything written to ``write_end`` to ``ship``."""

    def __init__(self, spool: Path, ship: Ship) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self._spool = spool
        self._ship = ship
        self._read_end, self.write_end = os.pipe()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._next = 0
        self._news = threading.Condition()
        self._pending: deque[tuple[int, str | None]] = deque()
        """Numbers of the chunks to ship, with the text of one that the disk had no room for."""
        self._closed = False
        self._giving_up = threading.Event()
        self._reader = threading.Thread(target=self._read, name="log-reader", daemon=True)
        self._shipper = threading.Thread(target=self._ship_all, name="log-shipper", daemon=True)
        self._reader.start()
        self._shipper.start()

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The newest lines; complete once closed."""
        lines = [*self._lines, self._tail] if self._tail else list(self._lines)
        return tuple(line[:_LAST_LINE_LENGTH] for line in lines[-_LAST_LINES:])

    def say(self, sentence: str) -> None:
        """A line of our own in the program's log."""
        os.write(self.write_end, f"{OURS}{sentence}\n".encode())

    def close(self, timeout_s: float) -> bool:
        """Wait until every byte is shipped; False when that took too long."""
        os.close(self.write_end)
        self._reader.join(timeout_s)
        deadline = time.monotonic() + timeout_s
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._shipper.join(max(0.0, deadline - time.monotonic()))
        done = not self._reader.is_alive() and not self._shipper.is_alive() and not self._pending
        self._giving_up.set()
        return done

    def _read(self) -> None:
        buffer = bytearray()
        since = 0.0
        while True:
            wait = FLUSH_S if not buffer else max(0.0, since + FLUSH_S - time.monotonic())
            readable, _, _ = select.select([self._read_end], [], [], wait)
            if readable:
                data = os.read(self._read_end, 65_536)
                if not data:
                    break
                if not buffer:
                    since = time.monotonic()
                buffer += data
            due = buffer and time.monotonic() - since >= FLUSH_S
            if due or len(buffer) >= MAX_BYTES - 65_536:
                self._cut(bytes(buffer))
                buffer.clear()
        self._cut(bytes(buffer), final=True)
        os.close(self._read_end)

    def _cut(self, data: bytes, *, final: bool = False) -> None:
        text = self._decoder.decode(data, final)
        if not text:
            return
        *lines, self._tail = (self._tail + text).split("\n")
        self._tail = self._tail[-_LAST_LINE_LENGTH:]
        # The last lines show why the program failed; ours are not the program's.
        self._lines.extend(line for line in lines if not line.startswith(OURS))
        with self._news:
            self._news.wait_for(lambda: len(self._pending) < _MAX_SPOOLED)
        kept = None if self._spooled(text) else text
        with self._news:
            self._pending.append((self._next, kept))
            self._next += 1
            self._news.notify_all()
            if kept is not None:
                # No more than one is held in memory: the program waits until it is shipped.
                self._news.wait_for(lambda: not self._pending)

    def _spooled(self, text: str) -> bool:
        try:
            self._file(self._next).write_bytes(text.encode())
        except OSError as error:
            log.warning("log_chunk_not_spooled", chunk=self._next, error=str(error))
            return False
        return True

    def _ship_all(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._pending or self._closed)
                if not self._pending:
                    return
                number, kept = self._pending[0]
            if not self._shipped(number, kept):
                if self._giving_up.wait(_RETRY_S):
                    return
                continue
            with self._news:
                self._pending.popleft()
                self._news.notify_all()

    def _shipped(self, number: int, kept: str | None) -> bool:
        try:
            text = self._file(number).read_bytes().decode() if kept is None else kept
            self._ship(number, text)
            self._file(number).unlink(missing_ok=True)
        except StorageError as error:
            log.warning("log_chunk_postponed", chunk=number, error=str(error))
            return False
        except Exception:
            # Nobody starts this thread again, and without it the program soon waits for ever.
            log.exception("log_chunk_postponed", chunk=number)
            return False
        return True

    def _file(self, number: int) -> Path:
        return self._spool / f"{number:08d}.log"
