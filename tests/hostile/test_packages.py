"""Packages from strangers: bounded whatever they hold, and one set of rules at every door."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.client.tshell.checking import scripts_with_windows_ends
from shared.packages import (
    Bounds,
    Inventory,
    PackageError,
    PackageRefused,
    check,
    code_folder,
    pack,
    unpack,
)
from tests.hostile.archives import (
    Member,
    archive,
    file,
    header,
    padded,
    pax_record,
    raw_archive,
    special,
)

PROGRAM = file("p/code/main.py", b"print('hello')\n")


def _below(root: Path) -> list[Path]:
    """Everything below ``root``; links are not followed, also those whose target no name can be."""
    return [
        Path(folder, name)
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    ]


def _links_lead_out(root: Path) -> list[Path]:
    found = [path for path in _below(root) if path.is_symlink()]
    return [path for path in found if not path.resolve().is_relative_to(root.resolve())]


def _refused(path: Path, bounds: Bounds | None = None) -> str:
    """Refused by check and by unpack, for the same reasons, and nothing is left."""
    faults = check(path, bounds=bounds)
    with tempfile.TemporaryDirectory() as directory:
        with pytest.raises(PackageRefused) as caught:
            unpack(path, Path(directory) / "out", bounds)
        assert list(Path(directory).iterdir()) == []
    assert tuple(caught.value.faults) == faults
    return "; ".join(faults)


# Bounds: what the stream yields, not what a member says of itself.


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_megabytes_take_no_memory(tmp_path: Path, kind: bytes) -> None:
    record = pax_record("comment", b"A" * (4 << 20))
    blocks = [header("p/code/a.py", 1), padded(b"1")]
    for number in range(20):
        blocks += [header("x", len(record), kind), padded(record), header(f"p/f{number}", 0)]
    path = raw_archive(tmp_path / "bomb.tar.gz", *blocks)
    tracemalloc.start()
    try:
        assert "a header of more than 256 KiB" in _refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_many_small_headers_are_not_kept(tmp_path: Path) -> None:
    record = pax_record("comment", b"A" * 100_000)
    blocks = []
    for number in range(300):
        blocks += [header("x", len(record), tarfile.XHDTYPE), padded(record)]
        blocks += [header(f"p/f{number}", 0)]
    path = raw_archive(tmp_path / "headers.tar.gz", *blocks)
    tracemalloc.start()
    try:
        unpack(path, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    assert len(list((tmp_path / "out/p").iterdir())) == 300


def test_headers_count_among_what_an_archive_yields(tmp_path: Path) -> None:
    record = pax_record("comment", b"A" * 100_000)
    blocks = [header("x", len(record), tarfile.XHDTYPE), padded(record), header("p/f", 0)]
    path = raw_archive(tmp_path / "headers.tar.gz", *blocks)
    assert "unpacks to more than 50000 bytes" in _refused(path, Bounds(total_bytes=50_000))


def test_a_chain_of_headers_without_a_member_ends(tmp_path: Path) -> None:
    record = pax_record("comment", b"A")
    chain = [header("x", len(record), tarfile.XHDTYPE) + padded(record)] * 5000
    assert _refused(raw_archive(tmp_path / "chain.tar.gz", *chain, header("p/f", 0)))


def test_global_headers_do_not_pile_up(tmp_path: Path) -> None:
    blocks = []
    for number in range(100):
        record = pax_record(f"key{number}", b"A" * 1000)
        blocks += [header("g", len(record), tarfile.XGLTYPE) + padded(record)]
        blocks += [header(f"p/f{number}", 0)]
    assert "global headers" in _refused(raw_archive(tmp_path / "global.tar.gz", *blocks))


def test_contents_that_are_only_claimed_are_not_waited_for(tmp_path: Path) -> None:
    path = raw_archive(tmp_path / "claim.tar.gz", header("p/f", 7 << 30))
    assert "unpacks to more than 200 times its size" in _refused(path)


def test_a_tail_of_zeros_counts_too(tmp_path: Path) -> None:
    path = raw_archive(tmp_path / "tail.tar.gz", header("p/f", 0), bytes(3 << 20))
    bounds = Bounds(ratio_from_bytes=1 << 20)
    assert "unpacks to more than 200 times" in _refused(path, bounds)


def test_directories_that_are_only_implied_count_as_members(tmp_path: Path) -> None:
    path = archive(tmp_path / "deep.tar.gz", *[file(f"p/{n}/" + "d/" * 40 + "f") for n in range(9)])
    assert "more than 300 members" in _refused(path, Bounds(members=300))


def test_names_are_bounded_together(tmp_path: Path) -> None:
    members = [special(f"p/{n}", tarfile.SYMTYPE, "a" * 2000) for n in range(40)]
    path = archive(tmp_path / "names.tar.gz", *members)
    assert "names of more than" in _refused(path, Bounds(names_bytes=50_000))


def test_hard_links_count_as_the_copies_they_become(tmp_path: Path) -> None:
    members = [special(f"p/{n}", tarfile.LNKTYPE, "p/big") for n in range(40)]
    path = archive(tmp_path / "links.tar.gz", file("p/big", bytes(100_000)), *members)
    assert "unpacks to more than 1000000 bytes" in _refused(path, Bounds(total_bytes=1_000_000))


def _calls(work: Callable[[], object]) -> int:
    number = 0

    def count(_frame: object, event: str, _what: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


@pytest.mark.parametrize("depth", [2, 60])
def test_the_work_grows_with_the_members_and_not_faster(tmp_path: Path, depth: int) -> None:
    def work(number: int) -> int:
        names = [f"p/{'d/' * (depth - 2)}{n}" for n in range(number)]
        links = [special(f"{name}l", tarfile.SYMTYPE, "0") for name in names]
        path = archive(tmp_path / f"{number}.tar.gz", *[file(name) for name in names], *links)
        return _calls(lambda: check(path))

    assert work(1000) < 2.2 * work(500)


def test_links_through_links_are_each_resolved_once(tmp_path: Path) -> None:
    def work(number: int) -> int:
        chain = [special(f"p/{n}", tarfile.SYMTYPE, f"{n + 1}") for n in range(30)]
        fan = [special(f"p/f{n}", tarfile.SYMTYPE, "0") for n in range(number)]
        path = archive(tmp_path / f"{number}.tar.gz", *chain, file("p/30"), *fan)
        return _calls(lambda: check(path))

    assert work(1000) < 2.2 * work(500)


# Links: resolved again after the last member.


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("p/l1", "a/b/c/l2/../.."), ("p/a/b/c/l2", "../../..")),
        (("p/l1", "a/b/c/d/l2/../../.."), ("p/a/b/c/d/l2", "../../..")),
        (("p/code", "a/b/c/l2/../../outside"), ("p/a/b/c/l2", "../../..")),
        (("p/a/l1", "l2/x/../../.."), ("p/a/l2", "..")),
    ],
)
def test_links_that_lead_out_together_are_refused_in_either_order(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    place = file("p/a/b/c/d/x")
    for order in ((first, second), (second, first)):
        links = [special(name, tarfile.SYMTYPE, target) for name, target in order]
        path = archive(tmp_path / "escape.tar.gz", place, *links)
        with pytest.raises(PackageRefused):
            unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_links_may_lead_to_the_archives_own_top(tmp_path: Path) -> None:
    members = [file("code/main.py"), file("data/x"), special("code/d", tarfile.SYMTYPE, "../data")]
    unpack(archive(tmp_path / "p.tar.gz", *members), tmp_path / "out")
    assert (tmp_path / "out/code/d/x").read_bytes() == b"x"


def test_a_link_through_more_links_than_the_kernel_follows_is_refused(tmp_path: Path) -> None:
    chain = [special(f"p/{n}", tarfile.SYMTYPE, f"{n + 1}") for n in range(60)]
    assert "too many links" in _refused(archive(tmp_path / "chain.tar.gz", *chain))


# Damage is never the silent end of an archive.


def test_members_behind_a_damaged_header_are_not_lost_in_silence(tmp_path: Path) -> None:
    blocks = [header("p/a", 1), padded(b"1"), b"\xff" * 512, header("p/b", 1), padded(b"2")]
    assert "no member begins at byte 1024" in _refused(raw_archive(tmp_path / "x.tar.gz", *blocks))


def test_a_second_archive_behind_the_first_is_not_lost_in_silence(tmp_path: Path) -> None:
    blocks = [header("p/a", 1), padded(b"1"), bytes(1024), header("p/b", 1), padded(b"2")]
    assert "more follows" in _refused(raw_archive(tmp_path / "two.tar.gz", *blocks))


def test_a_wrong_check_sum_is_seen(tmp_path: Path) -> None:
    path = archive(tmp_path / "p.tar.gz", PROGRAM)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    assert "not a readable tar.gz" in _refused(path)


def test_a_member_within_another_is_refused(tmp_path: Path) -> None:
    record = pax_record("size", b"-1024")
    blocks = [header("p/a", 0), header("x", len(record), tarfile.XHDTYPE), padded(record)]
    assert _refused(raw_archive(tmp_path / "back.tar.gz", *blocks, header("p/b", 0)))


def test_a_sparse_file_whose_pieces_overlap_is_refused(tmp_path: Path) -> None:
    table = b"2\n0\n512\n0\n512\n"
    records = b"".join(
        pax_record(key, value)
        for key, value in (
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"p/s"),
            ("GNU.sparse.realsize", b"1024"),
        )
    )
    path = raw_archive(
        tmp_path / "sparse.tar.gz",
        header("x", len(records), tarfile.XHDTYPE),
        padded(records),
        header("p/GNUSparseFile.0/s", 512 + 1024),
        padded(table) + b"a" * 1024,
    )
    assert "'p/s': neither a file" in _refused(path)


# Archives as tar programs really write them.


def _tar(*arguments: str, at: Path) -> Path:
    subprocess.run(["tar", *arguments], cwd=at, check=True)
    return at / "p.tar.gz"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    (root / "code").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "code/main.py").write_text("print('hello')\n")
    (root / "data/x.csv").write_text("1,2\n")
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ("-C", "digits", "."),
        ("-C", "digits", "code", "data"),
        ("digits",),
        ("./digits",),
        ("--format=v7", "digits"),
        ("--format=gnu", "digits"),
        ("--format=pax", "digits"),
        ("--format=ustar", "-b", "200", "digits"),
    ],
)
def test_what_tar_writes_of_a_folder_is_taken(
    digits: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = _tar("czf", "p.tar.gz", *arguments, at=digits.parent)
    assert check(path, "main.py") == ()
    inventory = unpack(path, tmp_path / "out")
    code = code_folder(inventory)
    assert code is not None
    assert (tmp_path / "out" / code / "main.py").read_text() == "print('hello')\n"


def test_hard_links_become_copies(digits: Path, tmp_path: Path) -> None:
    os.link(digits / "code/main.py", digits / "code/same.py")
    (digits / "code/link").symlink_to("main.py")
    os.link(digits / "code/link", digits / "data/link", follow_symlinks=False)
    path = _tar("czf", "p.tar.gz", "digits", at=tmp_path)
    unpack(path, tmp_path / "out")
    out = tmp_path / "out/digits"
    assert (out / "code/same.py").read_text() == "print('hello')\n"
    assert (out / "code/same.py").stat().st_nlink == 1
    assert (out / "data/link").is_symlink()


@pytest.mark.parametrize("format_", ["gnu", "pax"])
def test_sparse_files_are_taken(digits: Path, tmp_path: Path, format_: str) -> None:
    with (digits / "data/sparse").open("wb") as sparse:
        for position in range(0, 8 << 20, 1 << 20):
            sparse.seek(position)
            sparse.write(b"here")
        sparse.truncate(9 << 20)
    with (digits / "data/hole").open("wb") as hole:
        hole.truncate(5 << 20)
    path = _tar("czSf", "p.tar.gz", f"--format={format_}", "digits", at=tmp_path)
    assert check(path, "main.py") == ()
    unpack(path, tmp_path / "out")
    whole = (digits / "data/sparse").read_bytes()
    assert (tmp_path / "out/digits/data/sparse").read_bytes() == whole
    assert (tmp_path / "out/digits/data/hole").read_bytes() == bytes(5 << 20)
    assert (tmp_path / "out/digits/data/x.csv").read_text() == "1,2\n"


@pytest.mark.parametrize(
    ("mode", "name"), [("w:xz", "xz"), ("w:bz2", "bzip2"), ("w:", "a tar that is not compressed")]
)
def test_other_kinds_of_archive_are_named(
    digits: Path, tmp_path: Path, mode: Literal["w:xz", "w:bz2", "w:"], name: str
) -> None:
    with tarfile.open(tmp_path / "p.tar.gz", mode) as archive:
        archive.add(digits, "digits")
    assert f"not a tar.gz but {name}" in _refused(tmp_path / "p.tar.gz")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"Rar!\x1a\x07\x00", "rar"),
        (b"]\x00\x00\x80\x00", "lzma"),
        (b"\x1f\x9d\x90", "compress"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "a page of the web"),
    ],
)
def test_what_was_fetched_in_place_of_a_package_is_named(
    tmp_path: Path, start: bytes, name: str
) -> None:
    (tmp_path / "p.tar.gz").write_bytes(start + bytes(100))
    assert f"not a tar.gz but {name}" in _refused(tmp_path / "p.tar.gz")


def test_data_that_is_away_is_not_left_out_in_silence(digits: Path, tmp_path: Path) -> None:
    (digits / "data").rename(tmp_path / "elsewhere")
    (digits / "data").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(PackageError, match=r"data' must be a folder: .* to .*not-mounted"):
        pack(digits, tmp_path / "p.tar.gz")
    (digits / "data").unlink()
    (digits / "data").write_text("1,2\n")
    with pytest.raises(PackageError, match="data' must be a folder"):
        pack(digits, tmp_path / "p.tar.gz")


def test_a_virtual_environment_is_not_packed_whatever_it_is_called(
    digits: Path, tmp_path: Path
) -> None:
    for name in (".venv", "my-environment"):
        (digits / "code" / name / "bin").mkdir(parents=True)
        (digits / "code" / name / "pyvenv.cfg").write_text("home = /usr/bin\n")
        (digits / "code" / name / "bin/python").symlink_to("/usr/bin/python3")
    (digits / "code/envs/tf/conda-meta").mkdir(parents=True)
    (digits / "code/envs/tf/conda-meta/history").write_text("==> 2026-11-29 <==\n")
    (digits / "code/environments").mkdir()
    (digits / "code/environments/real.py").write_text("")
    packed = pack(digits, tmp_path / "p.tar.gz")
    unpack(packed.path, tmp_path / "out")
    assert {each.name for each in (tmp_path / "out/digits/code").iterdir()} >= {"environments"}
    assert not [*(tmp_path / "out").rglob("pyvenv.cfg"), *(tmp_path / "out").rglob("conda-meta")]


def test_scripts_that_an_editor_of_windows_saved_are_named(digits: Path) -> None:
    (digits / "code/tools").mkdir()
    (digits / "code/tools/run.sh").write_bytes(b"#!/bin/bash\r\npython3 train.py\r\n")
    (digits / "code/tools/good.sh").write_bytes(b"#!/bin/bash\nprintf '\\r'\n")
    assert scripts_with_windows_ends(digits / "code") == ["code/tools/run.sh"]


@pytest.fixture
def programs(digits: Path) -> Path:
    """Programs beside their compiled code, and one of which there is only that."""
    code = digits / "code"
    (code / "open").mkdir()
    for name in ("open/a.py", "open/a.pyc", "closed.pyc", "open/__pycache__/a.cpython-311.pyc"):
        (code / name).parent.mkdir(exist_ok=True)
        (code / name).write_bytes(b"x")
    return digits


def _packed_names(path: Path, out: Path) -> set[str]:
    unpack(path, out)
    return {each.name for each in out.rglob("*") if each.is_file()}


def test_compiled_code_is_packed_where_it_is_all_there_is(programs: Path, tmp_path: Path) -> None:
    path = pack(programs, tmp_path / "p.tar.gz").path
    names = _packed_names(path, tmp_path / "out")
    assert {name for name in names if name.endswith(".pyc")} == {"closed.pyc"}


@pytest.mark.parametrize("name", [".git", ".hg", ".svn", ".ruff_cache", ".mypy_cache"])
def test_what_tools_keep_for_themselves_is_not_packed(
    digits: Path, tmp_path: Path, name: str
) -> None:
    (digits / "code" / name).mkdir()
    (digits / "code" / name / "kept").write_text("x")
    path = pack(digits, tmp_path / "p.tar.gz").path
    assert "kept" not in _packed_names(path, tmp_path / "out")


@pytest.mark.parametrize("place", ["code/digits.tar.gz", "data/digits.tar.gz"])
def test_packing_into_the_folder_itself_can_be_repeated(digits: Path, place: str) -> None:
    digests = {pack(digits, digits / place).sha256 for _ in range(3)}
    assert len(digests) == 1
    assert not [*digits.rglob("*.partial")]


def test_a_package_of_before_stays_where_the_new_one_cannot_be_made(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = pack(digits, tmp_path / "p.tar.gz")
    before = good.path.read_bytes()
    log = digits / "code/train.log"
    log.write_bytes(b"x" * 1000)

    def emptied(*_: object) -> None:
        log.write_bytes(b"")

    monkeypatch.setattr(Inventory, "reached", emptied)
    with pytest.raises(PackageError, match=r"'digits/code/train\.log' changed while"):
        pack(digits, good.path)
    assert good.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["p.tar.gz"]


def test_a_pipe_or_a_device_is_neither_waited_for_nor_replaced(
    digits: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for target in (Path("/dev/null"), tmp_path / "fifo", tmp_path / "folder"):
        with pytest.raises(PackageError, match="is no file that a package could be written to"):
            pack(digits, target)
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "fifo").is_fifo()


def test_a_folder_that_is_not_the_one_meant_is_told_which_is(digits: Path) -> None:
    assert "'digits' has one" in check(digits.parent)[0].replace(f"{digits.parent}/", "")
    (digits / "code").rename(digits / "Code")
    assert "'Code' is another name" in check(digits)[0]


@pytest.mark.parametrize("name", ["job.yaml", "tfjob.YML", "job.json"])
def test_a_jobs_file_in_place_of_its_folder_is_told_as_that(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("main: main.py")
    assert f"tshell submit FOLDER -f {name}" in _refused(tmp_path / name)


def test_a_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "not a tar.gz but zip" in _refused(tmp_path / "p.tar.gz")


def test_the_main_program_is_looked_for_before_the_upload(digits: Path, tmp_path: Path) -> None:
    path = pack(digits, tmp_path / "p.tar.gz").path
    for where in (digits, path):
        assert check(where, "./main.py") == ()
        assert check(where, "train.py") == (
            "the package's code folder holds no main program train.py; there is 'main.py'",
        )
    assert f"; {str(digits)!r} has one" in check(digits / "code")[0]
    (digits / "code").rename(digits / "programs")
    assert "its programs belong there" in check(digits / "programs")[0]
    (digits / "programs").rename(digits / "code")
    assert "is a program, not a package" in check(digits / "code" / "main.py")[0]
    other = archive(tmp_path / "other.tar.gz", file("a/main.py"), file("b/main.py"))
    (fault,) = check(other)
    assert fault.startswith("the package holds no <name>/code folder, but 'a', 'b': put the")


def test_what_lies_beside_the_one_folder_with_code_does_no_harm(tmp_path: Path) -> None:
    left = (file("__MACOSX/job/code/._main.py"), file("docs/readme.md"), file("._job"))
    path = archive(tmp_path / "p.tar.gz", file("job/code/main.py"), *left)
    assert check(path, "main.py") == ()
    assert code_folder(unpack(path, tmp_path / "out")) == "job/code"


def test_two_folders_with_code_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "p.tar.gz", file("a/code/main.py"), file("b/code/main.py"))
    assert check(path, "main.py") == (
        "the package holds several code folders: 'a/code', 'b/code'; submit one of them",
    )


def test_names_with_backslashes_are_told_as_what_they_are(tmp_path: Path) -> None:
    (fault,) = check(archive(tmp_path / "p.tar.gz", file("job\\code\\main.py")), "main.py")
    assert "backslashes" in fault


# Folders: whatever pack takes, unpack takes; the rest is named before anything is made.


def test_top_folders_that_are_links_are_followed(digits: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "disk"
    (digits / "data").rename(elsewhere)
    (elsewhere / "same.csv").symlink_to("x.csv")
    (elsewhere / "absolute.csv").symlink_to(elsewhere / "x.csv")
    (digits / "data").symlink_to(elsewhere)
    assert check(digits, "main.py") == ()
    unpack(pack(digits, tmp_path / "p.tar.gz").path, tmp_path / "out")
    for name in ("x.csv", "same.csv", "absolute.csv"):
        assert (tmp_path / "out/digits/data" / name).read_text() == "1,2\n"


def test_absolute_links_inside_the_folder_are_made_relative(digits: Path, tmp_path: Path) -> None:
    (digits / "code/current").symlink_to(digits.resolve() / "data")
    (digits / "code/run.py").symlink_to(digits.resolve() / "code/main.py")
    unpack(pack(digits, tmp_path / "p.tar.gz").path, tmp_path / "out")
    assert (tmp_path / "out/digits/code/current").readlink() == Path("../data")
    assert (tmp_path / "out/digits/code/run.py").read_text() == "print('hello')\n"


def test_every_fault_of_a_folder_is_named_at_once(digits: Path, tmp_path: Path) -> None:
    (digits / "notes.txt").write_text("not packed")
    (digits / "code/notes").symlink_to("../notes.txt")
    (digits / "code/out").symlink_to("/etc/passwd")
    (digits / "code/circle").symlink_to("circle")
    (digits / "data/new\nline").write_text("")
    os.mkfifo(digits / "data/pipe")
    Path(os.fsdecode(os.fsencode(digits / "data") + b"/latin1-\xfc")).touch()
    faults = "; ".join(check(digits))
    for name in ("code/out", "code/circle", r"new\nline", "data/pipe", r"latin1-\udcfc"):
        assert name in faults
    with pytest.raises(PackageRefused) as caught:
        pack(digits, tmp_path / "p.tar.gz")
    assert "; ".join(caught.value.faults) == faults
    assert not (tmp_path / "p.tar.gz").exists()


def test_a_link_to_what_is_not_packed_is_named(digits: Path) -> None:
    (digits / "notes.txt").write_text("not packed")
    (digits / "code/notes").symlink_to("../notes.txt")
    assert check(digits) == ("'digits/code/notes': a link to what is not packed",)


def test_data_that_packs_very_well_is_taken_or_named(digits: Path, tmp_path: Path) -> None:
    with (digits / "data/zeros").open("wb") as zeros:
        zeros.truncate(100 << 20)
    unpack(pack(digits, tmp_path / "p.tar.gz").path, tmp_path / "out")
    assert (tmp_path / "out/digits/data/zeros").stat().st_size == 100 << 20
    with pytest.raises(PackageRefused, match="more than 200 times its size"):
        pack(digits, tmp_path / "q.tar.gz", Bounds(ratio_from_bytes=10 << 20))
    assert not (tmp_path / "q.tar.gz").exists()


_PARTS = st.sampled_from(
    ["a", "b", "c", "code", "data", "..", ".", "", "ü", "n\n", "\udcfc", "x" * 256, "__pycache__"]
)
_PATHS = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_TARGETS = st.one_of(
    _PATHS,
    st.lists(st.sampled_from(["a", "b", "..", "l"]), min_size=1, max_size=8).map("/".join),
    st.sampled_from(["/etc", "ROOT/code", "ROOT/data/a", "ROOT"]),
)
_LEAF = st.sampled_from(["a", "b", "l", "m", "ü", "n\n", "x" * 256, "s\udcfc"])
_NODES = st.lists(
    st.tuples(
        st.sampled_from(["file", "link", "directory", "hard", "fifo"]),
        st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
        _LEAF,
        _TARGETS,
    ),
    max_size=10,
)


def _build(root: Path, nodes: list[tuple[str, list[str], str, str]], data_elsewhere: bool) -> None:
    """A folder tree as the file system lets it be made; what it refuses is left out."""
    (root / "code").mkdir(parents=True)
    (root / "code/main.py").write_text("print()\n")
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    (root / "data").symlink_to(elsewhere) if data_elsewhere else (root / "data").mkdir()
    for number, (kind, parents, leaf, target) in enumerate(nodes):
        with contextlib.suppress(OSError, ValueError):
            place = root / ("code" if number % 2 else "data") / Path(*parents)
            place.mkdir(parents=True, exist_ok=True)
            if not place.resolve().is_relative_to(root.parent.resolve()):
                continue
            path = place / leaf
            if kind == "file":
                # A pipe of this name refuses at once, in place of waiting for a reader.
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
                with os.fdopen(os.open(path, flags), "w", encoding="utf-8") as file:
                    file.write(leaf[:1])
            elif kind == "link":
                path.symlink_to(target.replace("ROOT", str(root)))
            elif kind == "directory":
                path.mkdir()
            elif kind == "hard":
                path.hardlink_to(root / "code/main.py")
            else:
                os.mkfifo(path)


@settings(max_examples=100, deadline=None)
@given(_NODES, st.booleans())
def test_whatever_is_packed_is_unpacked_and_what_is_not_is_named(
    nodes: list[tuple[str, list[str], str, str]], data_elsewhere: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve() / "job"
        _build(root, nodes, data_elsewhere)
        faults = check(root, "main.py")
        if faults:
            with pytest.raises(PackageError, match=f"^{re.escape('; '.join(faults))}$"):
                pack(root, Path(name) / "p.tar.gz")
            return
        packed = pack(root, Path(name) / "p.tar.gz")
        assert check(packed.path, "main.py") == ()
        unpack(packed.path, Path(name) / "out")
        assert not _links_lead_out(Path(name) / "out")
        for path in _below(Path(name) / "out/job"):
            source = root / path.relative_to(Path(name) / "out/job")
            # Path.is_file raises at a link whose target is too long for a name.
            if os.path.isfile(source):  # noqa: PTH113 - the reason above
                assert path.read_bytes() == source.read_bytes()


_KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_PATHS, _KINDS, _TARGETS), max_size=12))
@example([("a/b", tarfile.SYMTYPE, "c/.."), ("a/c", tarfile.SYMTYPE, "..")])
@example([("l", tarfile.SYMTYPE, "a/l/.."), ("a/l", tarfile.SYMTYPE, "..")])
def test_whatever_is_unpacked_stays_inside_and_what_is_refused_was_named(
    members: list[tuple[str, bytes, str]],
) -> None:
    entries: list[Member] = [
        file(name) if kind == tarfile.REGTYPE else special(name, kind, target)
        for name, kind, target in members
    ]
    with tempfile.TemporaryDirectory() as name:
        path = archive(Path(name) / "p.tar.gz", *entries)
        refused = [f for f in check(path) if not f.startswith("the package")]
        out = Path(name) / "in/out"
        if refused:
            with pytest.raises(PackageRefused) as caught:
                unpack(path, out)
            assert caught.value.faults == refused
            assert list(out.parent.iterdir()) == []
        else:
            unpack(path, out)
            assert not _links_lead_out(out)
        assert {path.name for path in Path(name).iterdir()} == {"in", "p.tar.gz"}
