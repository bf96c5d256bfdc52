"""What hangs in the kernel costs itself: no other look, no sample, no command."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.healer.agent import mounts
from services.healer.agent.apart import Apart, HangsError
from services.healer.agent.evidence import Collector, collector, files, system
from services.healer.agent.evidence.base import EvidenceCollector
from services.healer.agent.evidence.found import Found
from services.healer.agent.publishing import Publishing
from services.healer.agent.readings import Reader
from services.healer.agent.records import Command
from services.healer.agent.samplers import Reading, Sampler
from shared.contracts.alerts import SeriesRef
from shared.contracts.remediation import EvidenceCollect, EvidenceCollected

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Gate:
    """A thing that hangs until it is let go."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.calls = 0

    def hang(self, *_: object) -> Any:
        self.calls += 1
        self.opened.wait()
        return []


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def test_what_hangs_is_called_once_until_it_ends_and_others_are_called(gate: Gate) -> None:
    apart = Apart()
    for _ in range(5):
        with pytest.raises(HangsError):
            apart.call("disk", gate.hang, 0.01)
    assert gate.calls == 1
    assert apart.call("other", lambda: 7, 60) == 7
    with pytest.raises(ZeroDivisionError):
        apart.call("wrong", lambda: 1 // 0, 60)
    gate.opened.set()
    while any(each.name == "apart-disk" for each in threading.enumerate()):
        pass
    assert apart.call("disk", lambda: 8, 60) == 8


class Hanging(Sampler):
    items = ("df.bytes.used.percent",)

    def __init__(self, gate: Gate) -> None:
        self.sample = gate.hang

    def sample(self) -> list[Reading]:
        raise NotImplementedError


class Steady(Sampler):
    items = ("load.5min",)

    def sample(self) -> list[Reading]:
        return [Reading("load.5min", 1.0)]


def test_a_sampler_that_hangs_leaves_out_itself_alone(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.healer.agent.publishing._HANGS_S", 0.01)
    publishing = Publishing("h", (Hanging(gate), Steady()), interval_s=10)
    for _ in range(3):
        assert [sample.item for sample in publishing.read(1)] == ["load.5min"]
    assert gate.calls == 1


def test_an_item_that_hangs_is_answered_with_the_reason(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.healer.agent.readings._HANGS_S", 0.01)
    reader = Reader([lambda: Hanging(gate)], lambda: NOW, threading.Event)
    value, why = reader.read(SeriesRef(host="h", item="df.bytes.used.percent"))
    assert (value, "did not end" in why) == (None, True)


def asked(make: Collector, number: int = 0) -> EvidenceCollected:
    message = EvidenceCollect(
        command_id=f"0000000{number}-0000-4000-8000-000000000000",
        incident_id="00000000-0000-4000-8000-000000000000",
        host="vm",
        family="disk",
        path="/",
        reply_by=NOW + timedelta(seconds=60),
    )
    body = message.model_dump_json()
    return make.perform(Command(command_id=message.command_id, type=message.TYPE, body=body))


def test_a_look_that_hangs_is_said_and_further_ones_are_still_taken(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_FIRST_S", 0.01)
    monkeypatch.setattr(files, "biggest", gate.hang)
    seen = EvidenceCollector((), lambda _: Found("Seen", ({"a": "b"},), truncated=False))
    monkeypatch.setattr(collector, "collectors", lambda _family: [seen])
    make = Collector(lambda: NOW, threading.Event)
    for number in range(2):
        answer = asked(make, number)
        assert answer.title.startswith("Not collected: the look at disk")
        assert [table.title for table in answer.more] == ["Seen"]
    assert gate.calls == 1


def test_a_further_look_that_hangs_keeps_back_no_other(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_FURTHER_S", 0.01)
    found = Found("Seen", ({"a": "b"},), truncated=False)
    monkeypatch.setattr(files, "biggest", lambda _path: found)
    looks = [EvidenceCollector((), gate.hang), EvidenceCollector((), lambda _: found)]
    monkeypatch.setattr(collector, "collectors", lambda _family: looks)
    answer = asked(Collector(lambda: NOW, threading.Event))
    assert (answer.title, [table.title for table in answer.more]) == ("Seen", ["Seen"])


def test_a_mount_is_not_looked_at_in_a_search_that_stays_on_its_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "nfs with a blank"
    away.mkdir()
    for folder in (tmp_path, away):
        (folder / "file").write_bytes(b"x" * 8192)
    table = tmp_path / "mountinfo"
    shown = str(away).replace(" ", r"\040")
    table.write_text(f"36 35 0:60 / {shown} rw,relatime shared:1 - nfs4 srv:/x rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)
    assert mounts.mounted() == {str(away)}
    paths = {row["path"] for row in files.biggest(str(tmp_path)).rows}
    assert str(tmp_path / "file") in paths
    assert not any(path.startswith(str(away)) for path in paths)


def test_open_files_that_are_not_deleted_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = Path.stat

    def stat(self: Path) -> os.stat_result:
        looked.append(str(self.readlink()))
        return real(self)

    monkeypatch.setattr(Path, "stat", stat)
    with (tmp_path / "kept").open("wb"), (tmp_path / "gone").open("wb") as gone:
        (tmp_path / "gone").unlink()
        gone.write(b"x" * 2_000_000)
        gone.flush()
        device = os.fstat(gone.fileno()).st_dev
        found = [name for _, _, name in system._deleted(os.getpid(), device)]
    assert str(tmp_path / "gone") in found
    assert all(name.endswith(" (deleted)") for name in looked)
