"""A replay in shares: what workers write, put together, is what one replay says."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from replay import version
from replay.shares import Recording
from shared.cli.application import complete
from shared.samples import from_rows
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


def _by(version: str | None, share: str, target: Path) -> str:
    """The same share as another version would have written it."""
    head, _, rest = Path(share).read_bytes().partition(b"\n")
    values = json.loads(head)
    values["version"] = version
    if version is None:
        del values["version"]
    target.write_bytes(json.dumps(values).encode() + b"\n" + rest)
    return str(target)


@pytest.mark.parametrize("version", ["barograph 0.2.0 (code 0)", None])
def test_shares_of_different_versions_are_refused_with_both(
    replay: Replay, tmp_path: Path, version: str | None
) -> None:
    other = _by(version, replay.share(1), tmp_path / "other")
    said = _call("--join", replay.share(0), other, replay.share(2), status=2)
    assert "replayed by different versions: 0/3, 2/3 by barograph" in said
    assert f"1/3 by {version or 'an earlier version'}" in said
    assert "replay all of them again with one" in said


def test_each_change_of_the_code_is_another_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = tmp_path / "services" / "detector" / "engine.py"
    code.parent.mkdir(parents=True)
    monkeypatch.setattr(version, "__file__", str(tmp_path / "replay" / "version.py"))
    found = set()
    for text in ("a = 1", "a = 2"):
        code.write_text(text)
        found.add(version.replay_version.__wrapped__())
    assert len(found) == 2


def test_recordings_that_differ_in_labels_alone_are_different() -> None:
    def described(path: str) -> Recording:
        row = ("h", "df.bytes.used.percent", f'{{"path": "{path}"}}', 1_700_000_000_000, 1.0)
        return Recording.of(from_rows([row]), 60_000, [])

    assert described("/a") != described("/b")


FORGED = [
    b"x 1 {}",
    b"0 7 {}",
    b"0 0 {}",
    b"0 0 [1]",
    b'0 0 {"type": "no.such"}',
    b'0 0 {"type": ["alarm.predicted"]}',
    b"0 0 " + b"[" * 100_000,
    b"9" * 5_000 + b" 0 {}",
    b"end {}",
    b'end {"series": "many", "scores": []}',
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("line", FORGED)
def test_a_line_that_no_worker_writes_is_named(replay: Replay, tmp_path: Path, line: bytes) -> None:
    forged = tmp_path / "forged"
    head, _, rest = Path(replay.share(0)).read_bytes().partition(b"\n")
    forged.write_bytes(b"\n".join([head, line, rest]))
    said = _call("--join", str(forged), replay.share(1), replay.share(2), status=2)
    assert "line 2 was not written by --share" in said


def test_a_share_that_claims_to_be_one_of_very_many_costs_no_memory(
    replay: Replay, tmp_path: Path
) -> None:
    for of, reason in ((99_999, "every share is needed once"), (10**12, "not written by --share")):
        forged = tmp_path / "forged"
        head, _, rest = Path(replay.share(0)).read_bytes().partition(b"\n")
        forged.write_bytes(head.replace(b'"of":3', b'"of":%d' % of) + b"\n" + rest)
        assert reason in _call("--join", str(forged), status=2)


def test_events_out_of_order_are_refused(replay: Replay, tmp_path: Path) -> None:
    shares = {n: Path(replay.share(n)).read_bytes().splitlines(keepends=True) for n in range(3)}
    number, lines = next((n, each) for n, each in shares.items() if len(each) > 3)
    turned = tmp_path / "turned"
    turned.write_bytes(b"".join([lines[0], *lines[-2:0:-1], lines[-1]]))
    others = [replay.share(each) for each in shares if each != number]
    assert "was not written by --share" in _call("--join", str(turned), *others, status=2)


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_of_a_share_is_refused_in_words_or_changes_nothing_but_itself(
    replay: Replay, tmp_path: Path, seed: int
) -> None:
    chance, place = random.Random(seed), tmp_path / "damaged"
    data = bytearray(Path(replay.share(seed % 3)).read_bytes())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, 1, 1, 9))] = chance.randbytes(chance.choice((0, 1, 1, 5)))
    place.write_bytes(data)
    others = [replay.share(number) for number in range(3) if number != seed % 3]
    given = ["replay", "--join", str(place), *others, "--policy", json.dumps(POLICY)]
    done = CliRunner().invoke(complete(), given)
    assert done.exit_code in {0, 2}, done.exception


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--share", "3/3", "--to", "x"], "a share is written as 0/8"),
        (["--share", "1", "--to", "x"], "a share is written as 0/8"),
        (["--share", "9" * 5_000 + "/3", "--to", "x"], "a share is written as 0/8"),
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
