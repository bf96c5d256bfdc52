"""What else the agent finds out: deleted files, I/O, kernel messages, pods, own secrets."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.healer import masking
from services.healer.agent.evidence import Collector, system
from services.healer.agent.evidence.processes import container_in
from services.healer.agent.records import Command
from services.healer.agent.settings import AgentSettings
from shared.contracts import EvidenceCollect
from shared.service.inlet import utc_now


def test_a_deleted_file_that_is_still_open_is_named_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "gone.log"
    with path.open("wb") as file:
        file.write(os.urandom(3_000_000))
        file.flush()
        path.unlink()
        found = system.deleted_open(str(tmp_path))
    row = next(row for row in found.rows if row["path"] == str(path))
    assert row["pid"] == str(os.getpid())
    assert row["size"].endswith("MiB")


def test_who_writes_most_stands_first(tmp_path: Path) -> None:
    def write(_seconds: float) -> None:
        with (tmp_path / "big").open("wb") as file:
            file.write(os.urandom(5_000_000))
            os.fsync(file.fileno())

    found = system.by_io(write)
    assert str(os.getpid()) in {row["pid"] for row in found.rows}


def test_a_disks_evidence_comes_with_further_tables_and_within_its_time(tmp_path: Path) -> None:
    collector = Collector(utc_now, threading.Event)
    with (tmp_path / "held").open("wb") as file:
        file.write(os.urandom(1_100_000))
        file.flush()
        (tmp_path / "held").unlink()
        answer = collector.perform(_question(str(tmp_path), 60))
        late = collector.perform(_question(str(tmp_path), 4))
    titles = [table.title for table in answer.more]
    assert any(title.startswith("Deleted but still open") for title in titles)
    assert any(title.startswith("Started lately") for title in titles)
    assert late.more == ()
    assert late.rows is not None


def _question(path: str, seconds: float) -> Command:
    question = EvidenceCollect(
        command_id=str(uuid.uuid4()),
        host="h",
        family="disk",
        path=path,
        reply_by=utc_now() + timedelta(seconds=seconds),
    )
    return Command(
        command_id=question.command_id,
        type=question.TYPE,
        body=question.model_dump_json(),
        attempts=1,
    )


def test_what_cannot_be_read_is_said_and_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> Iterator[tuple[int, str, str]]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(system, "_kernel_log", forbidden)
    assert "Operation not permitted" in system.kernel_messages().title
    assert system.oom_kills().truncated


def test_kernel_messages_are_sorted_newest_first_and_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [
        (6, "1.0", "eth0: link up"),
        (3, "2.0", "Out of memory: Killed process 7 (java)"),
        (4, "2.1", "RIP: 0033:0x7f14d5e0b1f0"),
        (4, "2.2", " ? do_syscall_64+0x5c/0x90"),
        (4, "2.3", " </TASK>"),
        (4, "3.0", "audit: password=hunter2 seen"),
    ]
    monkeypatch.setattr(system, "_kernel_log", lambda: iter(lines))
    messages = [row["message"] for row in system.kernel_messages().rows]
    assert messages == ["audit: password=*** seen", "Out of memory: Killed process 7 (java)"]
    assert [row["at"] for row in system.oom_kills().rows] == ["2.0"]


_UID = "_".join(["12345678", *["1234"] * 3, "a" * 12])
SLICE = f"0::/kubepods.slice/kubepods-pod{_UID}.slice/cri-containerd-{'c' * 64}.scope\n"


@pytest.mark.parametrize(
    ("cgroups", "where"),
    [
        ("0::/user.slice/session-1.scope\n", ""),
        (f"1:name=systemd:/docker/{'b' * 64}\n", f"container {'b' * 12}"),
        (SLICE, f"pod 12345678-1234-1234-1234-{'a' * 12}, container {'c' * 12}"),
    ],
)
def test_the_container_and_pod_of_a_process_are_read_from_its_control_groups(
    cgroups: str, where: str
) -> None:
    assert container_in(cgroups) == where


def test_a_machines_owner_can_name_further_secrets() -> None:
    try:
        masking.mask_also([r"CASE-\d+"])
        assert masking.masked(["tool", "CASE-4711", "other"]) == "tool *** other"
    finally:
        masking.mask_also([])
    with pytest.raises(ValueError, match="no regular expression"):
        AgentSettings.model_validate({"mask": '["("]'})
