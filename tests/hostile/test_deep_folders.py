"""Folders that are nested deeper than a function may call itself: they are deleted and packed."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.client.tshell.checking import scripts_with_windows_ends
from services.task.launcher import checkpoints
from services.task.runtimes.leftovers import clear
from services.task.runtimes.local import LocalRuntime, specs
from services.task.settings import TaskSettings
from shared import trees
from shared.embedded.state import JobsPlace
from shared.packages import check
from tests.strangers import as_stranger, open_way_to

LEVELS = 1_200
"""More than an interpreter lets a function call itself."""
FREE_UID = 1_950_000_000


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where a thousand levels cost nothing; pytest cannot delete so many."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield made
    trees.delete(made)


def nested(top: Path, levels: int = LEVELS, owner: int = -1) -> None:
    """Make folders within each other, with a file and a link to the outside in each."""
    top.mkdir(exist_ok=True)
    at = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.symlink("/etc", "link", dir_fd=at)
        os.mkdir("d", dir_fd=at)
        for name in ("file", "link", "d"):
            os.chown(name, owner, owner, dir_fd=at, follow_symlinks=False)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path of it is needed


def test_any_number_of_levels_is_deleted_with_two_descriptors(place: Path) -> None:
    before = open_descriptors()
    nested(place / "top")
    trees.delete(place / "top")
    assert not (place / "top").exists()
    trees.delete(place / "top")
    trees.delete(place / "never/was")
    assert open_descriptors() == before


def test_any_number_of_folders_beside_each_other_is_deleted(place: Path) -> None:
    kept = place / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    for number in range(1_203):
        (place / f"top/a/{number}/b").mkdir(parents=True)
    (place / "top/a/link").symlink_to(kept)
    trees.delete(place / "top")
    assert [each.name for each in place.iterdir()] == ["kept"]
    assert (kept / "file").exists()


def test_a_link_in_place_of_the_folder_is_deleted_and_what_it_leads_to_stays(
    place: Path,
) -> None:
    (place / "kept/below").mkdir(parents=True)
    (place / "top").symlink_to(place / "kept")
    trees.delete(place / "top")
    assert [each.name for each in place.iterdir()] == ["kept"]
    assert (place / "kept/below").is_dir()


def test_a_folder_that_is_moved_away_meanwhile_is_left_and_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "top/a/b").mkdir(parents=True)
    (place / "other").mkdir()
    found = trees._directories

    def moved(at: int) -> list[str]:
        if os.path.samestat(os.fstat(at), (place / "top/a/b").stat()):
            (place / "top/a/b").rename(place / "other/b")
        return found(at)

    monkeypatch.setattr(trees, "_directories", moved)
    before = open_descriptors()
    with pytest.raises(OSError, match="moved"):
        trees.delete(place / "top")
    assert (place / "other/b").is_dir()
    assert open_descriptors() == before


def test_rights_that_a_program_took_from_its_own_folders_do_not_keep_them(place: Path) -> None:
    open_way_to(place)
    place.chmod(0o777)
    told = as_stranger(
        Path(trees.__file__).read_text()
        + """
import sys
top = Path(sys.argv[1], "top")
(top / "a/b/c").mkdir(parents=True)
(top / "a/b/file").write_text("x")
for each in ("a/b/c", "a/b", "a", "."):
    (top / each).chmod(0)
delete(top)
print(top.exists())
""",
        str(place),
    )
    assert told == "False\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_what_a_job_left_for_all_users_is_deleted_however_deep_it_is(place: Path) -> None:
    nested(place / "left", owner=FREE_UID)
    os.chown(place / "left", FREE_UID, FREE_UID)
    assert clear(FREE_UID, (place,)) == 1
    assert list(place.iterdir()) == []


def test_a_job_with_deep_folders_can_be_removed(place: Path) -> None:
    runtime = LocalRuntime(place, specs(TaskSettings(jobs_dir=place, s3_bucket="barograph")))
    nested(place / "job")
    assert runtime.remove("job")
    assert not (place / "job").exists()


def test_a_job_whose_folder_cannot_be_deleted_is_not_removed_yet(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = LocalRuntime(place, specs(TaskSettings(jobs_dir=place, s3_bucket="barograph")))
    (place / "job/below").mkdir(parents=True)
    real = os.rmdir

    def refused(*_: object, **_more: object) -> None:
        raise PermissionError(1, "immutable")

    monkeypatch.setattr(os, "rmdir", refused)
    assert not runtime.remove("job")
    monkeypatch.setattr(os, "rmdir", real)
    assert runtime.remove("job")


def test_checkpoints_are_stored_as_deep_as_they_can_be_restored(place: Path) -> None:
    nested(place / "checkpoints")
    (place / "checkpoints/newest").write_text("42")
    checkpoints.pack(place / "checkpoints", place / "archive")
    with tarfile.open(place / "archive") as archive:
        names = archive.getnames()
    assert {"newest", "file", "d/file"} <= set(names)
    assert max(name.count("/") for name in names) < 64
    assert len(checkpoints._signature(place / "checkpoints")) >= len(names)


def test_a_package_too_deep_is_named_before_the_upload(place: Path) -> None:
    (place / "job/code").mkdir(parents=True)
    (place / "job/code/main.py").write_text("pass")
    (place / "job/code/run.sh").write_bytes(b"echo\r\n")
    nested(place / "job/code/d")
    assert any("64 levels" in fault for fault in check(place / "job"))
    assert scripts_with_windows_ends(place / "job/code") == ["code/run.sh"]


def test_a_stack_ends_beside_the_deep_folders_of_a_job(place: Path) -> None:
    made = JobsPlace(place / "state", place / "jobs/a", place / "jobs")
    made.make()
    nested(made.directory / "job")
    made.leave()
    assert stat.S_ISDIR((made.directory / "job").stat().st_mode)


def test_a_walk_ends_at_its_own_number_of_levels(place: Path) -> None:
    nested(place / "top")
    found = [path for path, _ in trees.files(place / "top", 3)]
    assert sorted(map(str, found)) == sorted(f"{'d/' * level}file" for level in range(4))
