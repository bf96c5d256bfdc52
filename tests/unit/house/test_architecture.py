"""What the page on the architecture shows is what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from shared.topology import ROUTES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/architecture.md").read_text()
ARROWS = re.findall(r"^ *(\w+)->>(\w+): (\S+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("sender", "receiver", "message"), ARROWS)
def test_every_arrow_of_a_sequence_is_a_row_of_the_topology(
    sender: str, receiver: str, message: str
) -> None:
    (route,) = [route for route in ROUTES if message == route.message.TYPE]

    assert sender in route.publishers
    assert receiver in {consumer.principal for consumer in route.consumers}


def test_the_sequences_of_a_job_and_of_a_sample_are_drawn() -> None:
    assert len(ARROWS) > 15
    assert PAGE.count("sequenceDiagram") == 2


def test_the_healers_layers_are_those_of_the_import_contract() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = [
        contract
        for contract in config["tool"]["importlinter"]["contracts"]
        if contract["name"] == "Layers of the healer"
    ]
    section = PAGE.partition("### The healer's layers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)

    shown = [set(re.findall(r"`(\w+)`", row)) for row in rows]

    assert shown == [set(layer.split(" | ")) for layer in contract["layers"]]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:services|shared|tests)/[^`]+)`", PAGE)))
)
def test_every_path_on_the_page_exists(path: str) -> None:
    assert (ROOT / path).exists()
