"""Evidence: the directories and files that fill a file system."""

from __future__ import annotations

import heapq
import os
import stat
import time
from collections import deque

from services.healer.agent.evidence.found import MAX_ROWS, Found, size_text, table
from services.healer.agent.mounts import mounted
from services.healer.masking import masked_text

_MAX_ENTRIES = 300_000
_MAX_SECONDS = 8.0
_ROWS_OF_A_KIND = MAX_ROWS // 2


def biggest(
    path: str, *, most_entries: int = _MAX_ENTRIES, most_seconds: float = _MAX_SECONDS
) -> Found:
    """The biggest directories (by the files directly in them) and the biggest files below.

    Stays on the file system of ``path``, follows no links, and looks breadth first, so that a
    bound cuts the depths off and not a whole branch.
    """
    title = f"Biggest directories and files below {path}"
    walk = _Walk(most_entries, time.monotonic() + most_seconds)
    try:
        walk.below(path)
    except OSError as error:
        return Found(f"{title}: {error.strerror}", (), truncated=True)
    rows = [
        {"kind": kind, "size": size_text(size), "path": _shown(name)}
        for kind, found in (("directory", walk.directories), ("file", walk.files))
        for size, name in sorted(found, reverse=True)
        if size
    ]
    return table(title, rows, cut=walk.cut)


class _Walk:
    def __init__(self, most_entries: int, deadline: float) -> None:
        self._left = most_entries
        # Known without a look at them: one at a server that is away does not return.
        self._mounts = mounted()
        self._deadline = deadline
        self.cut = False
        self.directories: list[tuple[int, str]] = []
        self.files: list[tuple[int, str]] = []

    def below(self, path: str) -> None:
        device = os.stat(path, follow_symlinks=False).st_dev  # noqa: PTH116 - bytes of any name
        waiting = deque([path])
        first = True
        while waiting:
            if self._left <= 0 or time.monotonic() > self._deadline:
                self.cut = True
                return
            directory = waiting.popleft()
            try:
                self._one(directory, device, waiting)
            except OSError:
                if first:
                    raise
                self.cut = True  # gone meanwhile, or not ours to read
            first = False

    def _one(self, directory: str, device: int, waiting: deque[str]) -> None:
        direct = 0
        with os.scandir(directory) as entries:
            for entry in entries:
                self._left -= 1
                if self._left < 0 or time.monotonic() > self._deadline:
                    self.cut = True
                    break
                if entry.path in self._mounts:
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if status.st_dev != device:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    # Blocks on the disk, which for a sparse file are less than its length.
                    size = status.st_blocks * 512
                    direct += size
                    _keep(self.files, size, entry.path)
        _keep(self.directories, direct, directory)


def _keep(heap: list[tuple[int, str]], size: int, name: str) -> None:
    if len(heap) < _ROWS_OF_A_KIND:
        heapq.heappush(heap, (size, name))
    else:
        heapq.heappushpop(heap, (size, name))


def _shown(name: str) -> str:
    text = os.fsencode(name).decode(errors="backslashreplace")
    return masked_text("".join(c if c.isprintable() else "?" for c in text))
