"""Test sessions of one user at the same time: neither closes nor removes what the other uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.session_folders import SessionFolder
from tests.strangers import as_stranger, open_way_to

READ = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"


def test_a_session_uses_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")


@pytest.mark.slow
def test_what_a_test_has_opened_for_others_stays_open_while_other_sessions_begin_and_end(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.write_text("for all")
    file.chmod(0o644)
    open_way_to(tmp_path)
    other = f"{__file__}::{test_a_session_uses_its_folder.__name__}"
    for _ in range(4):
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", other], check=True)
    assert as_stranger(READ, str(file)) == "for all\n"


def test_a_session_has_its_folder_to_itself_until_it_ends_and_the_last_ended_ones_stay(
    tmp_path: Path,
) -> None:
    running = [SessionFolder(tmp_path) for _ in range(5)]
    for session in running:
        session.path.mkdir()
    assert len({session.path for session in running}) == len(running)
    for session in running[:4]:
        session.close()
    newest = SessionFolder(tmp_path)
    assert [session.path.exists() for session in running] == [False, False, True, True, True]
    assert newest.path not in {session.path for session in running}
    running[4].close()
    newest.close()


def test_a_folder_that_somebody_else_has_put_there_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError, match="PYTEST_DEBUG_TEMPROOT"):
        SessionFolder(tmp_path / "link")
