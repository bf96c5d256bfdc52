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
    GENERATIONS,
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


def test_a_full_file_is_set_aside_and_the_chain_goes_on(path: Path) -> None:
    audit = Audit(path, most_bytes=2000)
    for number in range(20):
        audit.note("begin", command_id=f"c{number}")
    newest, heads = audit.head, [entry["previous"] for entry in audit.entries("c19")]
    audit.close()

    assert path.with_name(f"{path.name}.1").exists()
    assert verify(path) == []
    assert verify(path, newest) == []
    assert verify(path, heads[0]) == []
    again = Audit(path, most_bytes=2000)
    assert [len(again.entries(f"c{number}")) for number in range(20)] == [1] * 20
    again.close()


def test_the_oldest_files_are_given_up_so_that_the_disk_is_not_filled(path: Path) -> None:
    audit = Audit(path, most_bytes=1000)
    for number in range(200):
        audit.note("begin", command_id=f"c{number}")
    audit.close()

    files = sorted(path.parent.iterdir())
    assert len(files) == GENERATIONS
    assert sum(file.stat().st_size for file in files) < GENERATIONS * 1400
    assert verify(path) == []
    again = Audit(path, most_bytes=1000)
    assert again.entries("c0") == []
    assert len(again.entries("c199")) == 1
    again.close()


def test_a_line_taken_out_of_an_older_file_shows(path: Path) -> None:
    audit = Audit(path, most_bytes=1000)
    for number in range(20):
        audit.note("begin", command_id=f"c{number}")
    audit.close()
    older = path.with_name(f"{path.name}.1")
    older.write_bytes(b"".join(older.read_bytes().splitlines(keepends=True)[:-1]))

    assert any("does not follow" in fault for fault in verify(path))


def test_a_crash_before_the_first_line_of_a_new_file_breaks_nothing(path: Path) -> None:
    audit = Audit(path)
    audit.note("begin", command_id="c1")
    audit.close()
    path.rename(path.with_name(f"{path.name}.1"))

    after = Audit(path)
    after.note("end", command_id="c1")
    assert [entry["event"] for entry in after.entries("c1")] == ["begin", "end"]
    after.close()

    assert verify(path) == []
    path.with_name(f"{path.name}.1").unlink()
    assert verify(path) == [], "the new file stands for itself"


def test_a_disk_without_room_for_a_further_file_costs_the_audit_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(path, most_bytes=300)
    for number in range(6):
        audit.note("begin", command_id=f"c{number}")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    real = os.open

    def full(file: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, flags, mode)

    with monkeypatch.context() as disk:
        disk.setattr(os, "open", full)
        for _ in range(GENERATIONS):
            with pytest.raises(OSError, match="No space"):
                audit.note("begin", command_id="full")
    stranger = os.open(path.parent / "stranger", os.O_RDWR | os.O_CREAT)

    assert {name: (path.parent / name).read_bytes() for name in before} == before
    audit.note("begin", command_id="c6")
    assert os.fstat(stranger).st_size == 0, "no line goes to what has the number of a closed file"
    assert verify(path) == []
    assert [len(audit.entries(f"c{number}")) for number in range(7)] == [1] * 7
    os.close(stranger)
    audit.close()
