"""A short round of ``make fuzz``, with fixed seeds; and that it notices what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.contracts import RendezvousOpen
from tests.hostile.fuzz.door import Door, Parts, attack, kept
from tests.hostile.fuzz.every import DOORS

_INPUTS = 300
_ENOUGH_S = 1e9
"""The number of inputs ends a round here, and not a time."""


@pytest.mark.parametrize("name", DOORS)
def test_whatever_a_door_is_sent_it_settles(name: str, tmp_path: Path) -> None:
    counts = attack(DOORS[name], _ENOUGH_S, 1, tmp_path, most=_INPUTS)
    why = json.loads(Path(counts.kept).read_text())["why"] if counts.kept else ""
    assert not why, why
    assert counts.tried == counts.ended.total() == _INPUTS
    if name.startswith("messages-") or name in {"remote-write", "sample-batches"}:
        assert set(counts.ended) - {"dead-lettered", "refused"}, "something was good"


def _seeds(_seed: int, count: int) -> list[Parts]:
    return [(b"%d" % number,) for number in range(count)]


def _raises(parts: Parts) -> str:
    if len(parts[0]) > 3:
        raise ZeroDivisionError
    return "answered"


def test_an_exception_of_a_door_ends_the_round_and_its_input_is_kept(tmp_path: Path) -> None:
    counts = attack(lambda: Door("odd", _seeds, _raises), _ENOUGH_S, 1, tmp_path)
    assert counts.exceptions == 1
    name, parts = kept(Path(counts.kept))
    assert name == "odd"
    with pytest.raises(ZeroDivisionError):
        _raises(parts)


@pytest.mark.parametrize("swallow", [Exception, ValueError])
def test_an_input_that_takes_all_cpu_ends_the_round(
    swallow: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hostile.fuzz.door.MAX_CPU_S", 0.2)

    def never_ends(_parts: Parts) -> str:
        while True:
            try:
                sum(range(1000))
            except swallow:
                pass

    counts = attack(lambda: Door("slow", _seeds, never_ends), _ENOUGH_S, 1, tmp_path)
    assert "CPU time" in json.loads(Path(counts.kept).read_text())["why"]


def test_memory_that_an_input_takes_beyond_the_bound_ends_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hostile.fuzz.door.MAX_GROWTH_MIB", 16)
    held: list[bytes] = []

    def grows(_parts: Parts) -> str:
        held.append(b"x" * 2**20)
        return "answered"

    counts = attack(lambda: Door("large", _seeds, grows), _ENOUGH_S, 1, tmp_path)
    assert "MiB more" in json.loads(Path(counts.kept).read_text())["why"]


def test_the_command_says_what_it_did_in_its_last_line(tmp_path: Path) -> None:
    options = ["--seconds", "1", "--seed", "3", "--door", "matchers", "--kept", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", *options],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["seed"] == 3
    assert told["tried"] == told["doors"]["matchers"]["tried"] > 0
    assert told["kept"] == ""


def test_a_number_of_inputs_is_shared_among_the_doors_and_counted_by_kind(tmp_path: Path) -> None:
    options = ["--inputs", "230", "--jobs", "2", "--seed", "3", "--kept", str(tmp_path)]
    doors = ["matchers", "alerts", "job-files"]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", *options, *(f"--door={d}" for d in doors)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    assert {name: each["tried"] for name, each in told["doors"].items()} == {
        "matchers": 100,
        "alerts": 100,
        "job-files": 30,
    }
    assert told["kinds"] == {"texts": 100, "requests": 100, "packages": 30}
    assert (told["tried"], told["unanswered"], told["stopped"]) == (230, 0, 0)


@pytest.mark.parametrize(
    "roles", [{"worker": 10**14}, {"worker": -1}, {"ps": 10_001}], ids=["huge", "less", "more"]
)
def test_a_rendezvous_of_more_members_than_a_job_may_have_is_refused(
    roles: dict[str, int],
) -> None:
    """Its members' names were made before anyone looked how many they are."""
    told = {"job_id": "a", "roles": roles, "deadline": "2026-01-01T00:00:00Z"}
    with pytest.raises(ValueError, match="roles"):
        RendezvousOpen.model_validate(told)
