"""The parts of clean-logs: leases, and the allow-list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from services.healer.remediations import make
from services.healer.remediations.open_files import HeldError, alone_with
from tests.troubles import put


def test_a_file_is_ours_alone_only_while_nobody_has_it(tmp_path: Path) -> None:
    put(tmp_path / "x.log.1")
    directory = os.open(tmp_path, os.O_DIRECTORY)
    try:
        with alone_with(directory, "x.log.1") as descriptor:
            assert os.read(descriptor, 3) == b"log"
        with (tmp_path / "x.log.1").open(), pytest.raises(HeldError):
            alone_with(directory, "x.log.1").__enter__()
    finally:
        os.close(directory)


@pytest.mark.parametrize(
    "allowed",
    [
        {"root": "relative"},
        {"root": "/"},
        {"root": "/var/../etc"},
        {"root": "/var/log", "patterns": ["*"]},
        {"root": "/var/log", "patterns": ["a/*.gz"]},
        {"root": "/var/log", "patterns": []},
        {"root": "/var/log", "min_age_s": -1},
    ],
)
def test_an_allow_list_that_allows_too_much_is_refused(allowed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        make("clean-logs", {"roots": [allowed]})
