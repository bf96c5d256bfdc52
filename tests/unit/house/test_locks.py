"""The locks: complete, by hash, and without any address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(lock: Path) -> dict[str, str]:
    return {name: version for name, version, _ in PIN.findall(lock.read_text() + "\n")}


def test_there_is_a_lock_for_every_image_for_one_machine_and_for_development() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"bench"}

    assert {lock.stem for lock in LOCKS} == extras


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_holds_nothing_but_hashed_pins(lock: Path) -> None:
    left = PIN.sub("", lock.read_text() + "\n")

    assert left.strip() == ""


@pytest.mark.parametrize(
    "lock", [lock for lock in LOCKS if lock.stem != "peers"], ids=lambda lock: lock.stem
)
def test_what_an_image_runs_is_what_was_tested(lock: Path) -> None:
    tested = pins(ROOT / "requirements" / "dev.txt")

    assert pins(lock).items() <= tested.items()


def test_peers_are_measured_beside_what_was_tested() -> None:
    tested = pins(ROOT / "requirements" / "dev.txt")
    peers = pins(ROOT / "requirements" / "peers.txt")

    assert {name: peers[name] for name in peers if name in tested}.items() <= tested.items()


def test_a_service_image_does_not_carry_what_only_another_needs() -> None:
    light = pins(ROOT / "requirements" / "autospec.txt")

    assert not {"tensorflow-cpu", "boto3", "fastapi", "numpy"} & set(light)
