"""The parts of clean-logs: leases, and the allow-list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from services.healer.remediations import make, rotation
from services.healer.remediations.clean_logs import CleanRoot
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


NO_LOGS = [
    "libssl.so.1.1",
    "libc.so.6",
    "ckpt.1",
    "ckpt-2024-01-01",
    "model.20240101",
    "model.2024-01-01.h5",
    "data.csv.gz",
    "backup.tar.gz",
    "dump.sql.gz",
    "nginx.conf.old",
    "id_rsa.old",
    "a.0",
    "b.12",
    "x.zst",
    "x.old",
    "events.out.tfevents.1700000000.host",
    "python3.11",
    "release-20240101",
    "changelog.gz",
    "catalog.1",
    "app.log",
    "error_log",
    "syslog",
    "mylog.1",
    "blog.1",
    "backlog-20240101",
    "weights.out.1",
]
LOGS = [
    "access.log.1",
    "access.log.10",
    "access.log.2.gz",
    "app.log.2024-01-01",
    "app.log-20240101",
    "app.log-20240101.gz",
    "app.log-2024-01-01",
    "app.log.gz",
    "app.log.old",
    "error_log-20240101",
    "error_log.1",
    "catalina.2024-05-01.log",
    "app-2024-01-01.1.log.gz",
    "app-20240101.log",
    "syslog.1",
    "syslog.2.gz",
    "messages-20240101.gz",
    "catalina.out.1",
]


@pytest.mark.parametrize("name", NO_LOGS)
def test_by_default_nothing_is_taken_for_a_finished_log_whose_name_says_no_such_thing(
    name: str,
) -> None:
    assert not rotation.matches(name, CleanRoot(root=Path("/srv")).patterns)


@pytest.mark.parametrize("name", LOGS)
def test_by_default_rotated_logs_are_known_by_their_names(name: str) -> None:
    assert rotation.matches(name, CleanRoot(root=Path("/srv")).patterns)
