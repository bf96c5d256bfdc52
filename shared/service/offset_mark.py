"""Records the batch of a stream over which a process died, in a file."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_LAYOUT = struct.Struct("<qqqq")
"""A mark's parts: a batch is in work, its offset; the offset that killed the process, how often."""


class OffsetMark:
    """Marks the current batch with a single write to memory-mapped storage.

    The file is mapped: what is written there stays when the process dies, however it does. Without
    a path, or where there can be no file, nothing outlives the process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._memory = _mapped(path)
        working, offset, suspect, deaths = self._read()
        if working:
            deaths = deaths + 1 if offset == suspect else 1
            self._write(0, offset, offset, deaths)

    def deaths(self, offset: int) -> int:
        """Return how often in a row the process died over the batch at ``offset``."""
        _, _, suspect, deaths = self._read()
        return deaths if offset == suspect else 0

    @contextmanager
    def working_on(self, offset: int) -> Iterator[None]:
        """Mark the batch while it is worked on; however that ends, it was no death."""
        _, _, suspect, deaths = self._read()
        self._write(1, offset, suspect, deaths)
        try:
            yield
        finally:
            self._write(0, offset, suspect, deaths)

    def forget(self, offset: int) -> None:
        """The batch at ``offset`` was survived."""
        _, _, suspect, deaths = self._read()
        if deaths and offset == suspect:
            self._write(0, offset, 0, 0)

    def _read(self) -> tuple[int, int, int, int]:
        working, offset, suspect, deaths = _LAYOUT.unpack_from(self._memory)
        return working, offset, suspect, deaths

    def _write(self, *values: int) -> None:
        _LAYOUT.pack_into(self._memory, 0, *values)


def _mapped(path: Path | None) -> mmap.mmap | bytearray:
    if path is None:
        return bytearray(_LAYOUT.size)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.truncate(descriptor, _LAYOUT.size)
            return mmap.mmap(descriptor, _LAYOUT.size)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("offset_mark_unusable", path=str(path), reason=str(error))
        return bytearray(_LAYOUT.size)
