"""No line of a program is lost in silence, and none stops it, whatever a thread of ours meets."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.task.launcher import logs
from services.task.launcher.logs import MAX_BYTES, LogPump
from shared.storage import StorageUnavailable
from tests.waiting import eventually


class Store:
    """Takes chunks, after it has raised each of these."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.chunks: list[tuple[int, str]] = []

    def ship(self, number: int, text: str) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.chunks.append((number, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.chunks)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_RETRY_S", 0.0)


def write(pump: LogPump, lines: int) -> str:
    text = "".join(f"line {number:08d}\n" for number in range(lines))
    left = memoryview(text.encode())
    while left:
        left = left[os.write(pump.write_end, left) :]
    return text


def test_what_a_full_disk_has_no_room_for_is_shipped_all_the_same_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Path.write_bytes
    tries: list[str] = []

    def full(path: Path, data: bytes) -> int:
        tries.append(path.name)
        if len(tries) % 3 == 0:
            return kept(path, data)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    store = Store(StorageUnavailable("away"), StorageUnavailable("away"))
    pump = LogPump(tmp_path, store.ship)
    text = write(pump, 8 * MAX_BYTES // 14)
    assert pump.close(60)
    assert store.text == text
    assert [number for number, _ in store.chunks] == list(range(len(tries)))
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_foresaw_when_a_chunk_is_shipped_is_tried_again(tmp_path: Path) -> None:
    store = Store(KeyError("url"), StorageUnavailable("away"), RuntimeError("cannot schedule"))
    pump = LogPump(tmp_path, store.ship)
    text = write(pump, 10)
    assert pump.close(60)
    assert store.text == text


def test_a_log_of_which_anything_is_left_is_not_called_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_RETRY_S", 3600.0)

    class Never(Store):
        def ship(self, number: int, text: str) -> None:
            raise PermissionError(number, text)

    pump = LogPump(tmp_path, Never().ship)
    write(pump, 10)
    eventually(lambda: [path.name for path in tmp_path.iterdir()] == ["00000000.log"], "a chunk")
    assert not pump.close(0.2)
    assert [path.name for path in tmp_path.iterdir()] == ["00000000.log"]
