"""truncate-logs: what is emptied lies below an allow-listed directory under all of its names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.healer.remediations import Remediation, Step, StepFailed, make
from services.healer.remediations.open_files import Writers
from tests.troubles import Noted, disk

BIG = b"x" * 2000


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path.resolve()


@pytest.fixture
def held(volume: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A log that a program appends to, on a machine where all processes can be looked into."""
    look = Writers.__init__

    def seen(writers: Writers) -> None:
        look(writers)
        writers.unseen = 0

    monkeypatch.setattr(Writers, "__init__", seen)
    log = volume / "logs" / "app.log"
    log.parent.mkdir()
    log.write_bytes(BIG)
    with log.open("ab"):
        yield log


def remedy(*roots: Path) -> Remediation:
    allowed = [{"root": str(root), "patterns": ["*.log"]} for root in roots]
    return make("truncate-logs", {"roots": allowed, "min_bytes": 1000})


def test_a_file_with_a_name_elsewhere_is_not_emptied(volume: Path, held: Path) -> None:
    elsewhere = volume / "precious"
    elsewhere.hardlink_to(held)

    outcome = remedy(held.parent).run(disk(volume), dry_run=False, journal=Noted())

    assert (outcome.steps, elsewhere.read_bytes()) == ((), BIG)
    assert "1 files spared: they have another name" in outcome.detail


def test_nor_is_one_that_gets_such_a_name_after_it_was_found(volume: Path, held: Path) -> None:
    status = held.stat()
    step = Step("truncate", str(held), status.st_size, f"{status.st_dev}:{status.st_ino}")
    elsewhere = volume / "precious"
    os.link(held, elsewhere)
    acting = remedy(held.parent)

    with pytest.raises(StepFailed, match="another name"):
        acting.perform(step)
    assert elsewhere.read_bytes() == BIG

    elsewhere.unlink()
    acting.perform(step)
    assert held.read_bytes() == b""


def test_a_directory_that_this_machine_lacks_costs_only_itself(volume: Path, held: Path) -> None:
    linked = volume / "linked"
    linked.symlink_to(held.parent)

    both = remedy(volume / "absent", linked, held.parent)
    assert both.run(disk(volume), dry_run=False, journal=Noted()).succeeded
    assert held.read_bytes() == b""

    with pytest.raises(FileNotFoundError):
        remedy(volume / "absent").run(disk(volume), dry_run=True, journal=Noted())
