"""The audit: a chain that shows every change, and survives crashes and a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.healer.remediations import Step
from services.healer.remediations.audit import (
    Audit,
    AuditInUseError,
    CommandJournal,
    intended,
    verify,
)

_STEPS = [Step("delete", f"/logs/{number}.gz", number, f"1:{number}") for number in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


@pytest.fixture
def audit(path: Path) -> Iterator[Audit]:
    opened = Audit(path)
    journal = CommandJournal(opened, "c1", "clean-logs")
    for step in _STEPS:
        journal.intend(step)
        journal.done(step)
    opened.note("end", command_id="c2")
    yield opened
    opened.close()


def test_what_was_noted_can_be_read_back_by_command(audit: Audit) -> None:
    entries = audit.entries("c1")

    assert [intended(e) for e in entries if e["event"] == "done"] == _STEPS
    assert [e["event"] for e in audit.entries("c2")] == ["end"]


def test_an_untouched_chain_holds_and_knows_its_heads(audit: Audit, path: Path) -> None:
    assert verify(path) == []
    assert verify(path, audit.head) == []


@pytest.mark.parametrize("line", range(8))
def test_a_changed_line_breaks_the_chain(audit: Audit, path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"/logs/", b"/etc/x/")
    path.write_bytes(b"".join(lines))

    assert verify(path) == [f"line {line + 2} does not follow from the line before it"]


@pytest.mark.parametrize("line", range(8))
def test_a_line_taken_out_or_doubled_breaks_the_chain(audit: Audit, path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[:line] + lines[line + 1 :], lines[: line + 1] + lines[line:]):
        path.write_bytes(b"".join(changed))
        assert verify(path)


def test_a_shortened_file_lacks_the_head_that_was_announced(audit: Audit, path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))

    assert verify(path) == []
    assert verify(path, audit.head) == [f"the line with the hash {audit.head} is missing"]


def test_garbage_between_the_lines_is_found(audit: Audit, path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{half\n", *lines[3:]]))

    assert "line 4 is not readable" in verify(path)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_a_crash_left_half_written_is_closed_and_the_chain_goes_on(
    path: Path, cut: int
) -> None:
    before = Audit(path)
    before.note("begin", command_id="c1")
    before.note("end", command_id="c1")
    before.close()
    os.truncate(path, path.stat().st_size - cut)

    after = Audit(path)
    after.note("begin", command_id="c2")
    after.close()

    assert verify(path) == []
    assert json.loads(path.read_bytes().splitlines()[-1])["command_id"] == "c2"


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing_behind(
    audit: Audit, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, head, size = os.write, audit.head, path.stat().st_size

    def half(file: int, data: bytes) -> int:
        if len(data) < 50:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) - 10])

    with monkeypatch.context() as full:
        full.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            audit.note("begin")

    assert (audit.head, path.stat().st_size) == (head, size)
    audit.note("begin")
    assert verify(path) == []


def test_two_processes_do_not_write_the_same_audit(audit: Audit, path: Path) -> None:
    with pytest.raises(AuditInUseError, match=r"audit\.jsonl"):
        Audit(path)


def test_only_the_agents_user_may_read_it(audit: Audit, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
