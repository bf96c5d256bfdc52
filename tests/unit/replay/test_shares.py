"""A replay in shares: what workers write, put together, is what one replay says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.cli.application import complete
from tests.unit.replay.recorded import POLICY, write_parquet

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Replay:
    """One replay in a folder, and the three shares of it."""

    folder: Path
    result: dict
    events: bytes

    def share(self, number: int) -> str:
        return str(self.folder / f"share-{number}")


def _call(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(complete(), ["replay", *arguments, "--policy", json.dumps(POLICY)])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    folder = tmp_path_factory.mktemp("shares")
    recorded, events = str(write_parquet(folder / "recorded.parquet")), folder / "whole.jsonl"
    result = json.loads(_call(recorded, "--events", str(events), "--json"))
    made = Replay(folder, result, events.read_bytes())
    for number in range(3):
        _call(recorded, "--share", f"{number}/3", "--to", made.share(number))
    return made


def test_joined_shares_are_byte_for_byte_what_one_replay_says(replay: Replay) -> None:
    joined = replay.folder / "joined.jsonl"
    shares = [replay.share(number) for number in (2, 0, 1)]
    result = json.loads(_call("--join", *shares, "--events", str(joined), "--json"))
    assert replay.events
    assert joined.read_bytes() == replay.events
    assert result == replay.result


def test_a_share_that_is_missing_or_there_twice_is_named(replay: Replay) -> None:
    shares = [replay.share(0), replay.share(1), replay.share(1)]
    said = _call("--join", *shares, status=2)
    assert "every share is needed once; there are 0/3, 1/3, 1/3" in said


def test_a_share_whose_worker_was_ended_is_named(replay: Replay, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(Path(replay.share(0)).read_bytes().rpartition(b"end ")[0])
    said = _call("--join", str(cut), replay.share(1), replay.share(2), status=2)
    assert "its end is missing; replay this share again" in said


def test_shares_of_other_settings_are_refused(replay: Replay, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    recorded = str(replay.folder / "recorded.parquet")
    _call(recorded, "--tick", "120", "--share", "0/3", "--to", other)
    said = _call("--join", other, replay.share(1), replay.share(2), status=2)
    assert "different recordings or settings" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--share", "3/3", "--to", "x"], "a share is written as 0/8"),
        (["--share", "1", "--to", "x"], "a share is written as 0/8"),
        (["--share", "0/2"], "--to names the file"),
        (["--join"], "it was not written by --share"),
    ],
)
def test_what_is_asked_wrongly_is_named(replay: Replay, arguments: list[str], reason: str) -> None:
    assert reason in _call(str(replay.folder / "recorded.parquet"), *arguments, status=2)


def test_an_object_store_that_nothing_names_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BAROGRAPH_S3_URL", raising=False)
    assert "BAROGRAPH_S3_URL" in _call("s3://recordings/vm.parquet", status=2)
    assert "s3://BUCKET/KEY" in _call("s3://recordings", status=2)
