"""Packages: equal contents give equal bytes, and nothing unsafe is ever unpacked."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.packages import Bounds, PackageError, PackageRefused, pack, unpack
from tests.hostile.archives import Member, archive, file, special


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "digits"
    (root / "code" / "lib").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "code" / "train.py").write_text("print('hello')\n")
    (root / "code" / "lib" / "tool.sh").write_text("#!/bin/sh\n")
    (root / "code" / "lib" / "tool.sh").chmod(0o755)
    (root / "code" / "main.py").symlink_to("train.py")
    (root / "data" / "x.csv").write_bytes(os.urandom(5000))
    return root


def test_what_is_packed_is_unpacked_as_it_was(folder: Path, tmp_path: Path) -> None:
    packed = pack(folder, tmp_path / "p.tar.gz")
    unpack(packed.path, tmp_path / "out")
    out = tmp_path / "out" / "digits"
    assert (out / "data/x.csv").read_bytes() == (folder / "data/x.csv").read_bytes()
    assert (out / "code/main.py").read_text() == "print('hello')\n"
    assert (out / "code/lib/tool.sh").stat().st_mode & 0o777 == 0o755
    assert packed.files == 4


def test_equal_contents_give_equal_bytes_whenever_and_by_whomever_packed(
    folder: Path, tmp_path: Path
) -> None:
    first = pack(folder, tmp_path / "a.tar.gz")
    os.utime(folder / "code" / "train.py", (1, 1))
    (folder / "code" / "train.py").chmod(0o600)
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "x.pyc").write_bytes(b"x")
    second = pack(folder, tmp_path / "b.tar.gz")
    assert first.sha256 == second.sha256
    assert first.path.read_bytes() == second.path.read_bytes()


def test_packing_names_every_file_that_cannot_go_in(folder: Path, tmp_path: Path) -> None:
    (folder / "code" / "out").symlink_to("/etc/passwd")
    os.mkfifo(folder / "data" / "pipe")
    with pytest.raises(PackageError, match=r"data/pipe.*code/out"):
        pack(folder, tmp_path / "p.tar.gz")


def test_a_folder_without_code_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no folder 'code'"):
        pack(tmp_path, tmp_path / "p.tar.gz")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([file("/etc/cron.d/x")], "absolute"),
        ([file("a/../../x")], "leads out"),
        ([special("a/l", tarfile.SYMTYPE, "/etc/passwd")], "link that leads out"),
        ([special("a/l", tarfile.SYMTYPE, "../../x")], "link that leads out"),
        ([special("a/l", tarfile.LNKTYPE, "/etc/passwd")], "no earlier file"),
        ([special("a/l", tarfile.LNKTYPE, "a/later"), file("a/later")], "no earlier file"),
        ([special("a/l", tarfile.SYMTYPE, "l")], "too many links"),
        ([special("a/l", tarfile.SYMTYPE, "")], "without a usable target"),
        ([special("a/d", tarfile.CHRTYPE)], "neither a file"),
        ([special("a/p", tarfile.FIFOTYPE)], "neither a file"),
        ([special("a/l", tarfile.SYMTYPE, "b"), file("a/l/x")], "below a link"),
        ([file("a/x"), file("a/x")], "twice"),
        ([file("a/x"), special("a/x", tarfile.SYMTYPE, "y")], "twice"),
        ([file("a/" + "d/" * 80 + "x")], "too deep"),
        ([], "empty"),
    ],
)
def test_unsafe_members_are_refused_with_the_reason_and_nothing_is_left(
    tmp_path: Path, members: list[Member], problem: str
) -> None:
    path = archive(tmp_path / "bad.tar.gz", *members)
    with pytest.raises(PackageRefused, match=problem):
        unpack(path, tmp_path / "in" / "out")
    assert list((tmp_path / "in").iterdir()) == []


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "bad.tar.gz", file("/a"), file("../b"))
    with pytest.raises(PackageRefused) as caught:
        unpack(path, tmp_path / "out")
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(ratio=50, ratio_from_bytes=1 << 20),
        Bounds(total_bytes=1 << 20),
        Bounds(file_bytes=1 << 20),
    ],
)
def test_a_bomb_is_refused(tmp_path: Path, bounds: Bounds) -> None:
    path = archive(tmp_path / "bomb.tar.gz", file("a/zeros", bytes(8 << 20)))
    with pytest.raises(PackageRefused):
        unpack(path, tmp_path / "out", bounds)


def test_more_members_than_allowed_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tar.gz", *[file(f"a/{n}") for n in range(20)])
    with pytest.raises(PackageRefused, match="more than 10 members"):
        unpack(path, tmp_path / "out", Bounds(members=10))


def test_a_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    path = tmp_path / "h.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2048)))
    with pytest.raises(PackageRefused, match="a header of more than 256 KiB"):
        unpack(path, tmp_path / "out")


def test_privileged_modes_do_not_survive(tmp_path: Path) -> None:
    unpack(archive(tmp_path / "s.tar.gz", file("a/x", mode=0o6777)), tmp_path / "out")
    assert (tmp_path / "out/a/x").stat().st_mode & 0o7777 == 0o755


def test_an_existing_destination_is_never_touched(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", file("a/x"))
    (tmp_path / "out").mkdir()
    with pytest.raises(PackageError, match="exists already"):
        unpack(path, tmp_path / "out")


def _mutations(data: bytes) -> st.SearchStrategy[bytes]:
    def change(edits: list[tuple[int, int]], cut: int) -> bytes:
        changed = bytearray(data)
        for position, value in edits:
            changed[position % len(changed)] = value
        return bytes(changed[: len(changed) - cut % len(changed)])

    edits = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12)
    return st.builds(change, edits, st.integers(0, 2000))


def _sample_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in (
            file("a/code/m.py", b"print()\n" * 40),
            special("a/code/l", tarfile.SYMTYPE, "m.py"),
            file("a/data/" + "n" * 120, b"12345"),
        ):
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _survives(content: bytes, wrap: Callable[[bytes], bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        (outer / "p.tar.gz").write_bytes(wrap(content))
        root = outer / "in" / "out"
        with contextlib.suppress(PackageRefused):
            unpack(outer / "p.tar.gz", root)
        for path in root.rglob("*"):
            assert path.resolve().is_relative_to(root.resolve())
        left = list((outer / "in").iterdir()) if (outer / "in").exists() else []
        assert left in ([], [root])
        assert sorted(p.name for p in outer.iterdir()) in (["p.tar.gz"], ["in", "p.tar.gz"])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(_mutations(_sample_tar()))
def test_a_mutated_archive_is_unpacked_inside_or_refused(content: bytes) -> None:
    _survives(content, gzip.compress)


@settings(max_examples=150, deadline=None)
@given(_mutations(gzip.compress(_sample_tar(), mtime=0)))
def test_a_mutated_compressed_file_is_unpacked_inside_or_refused(content: bytes) -> None:
    _survives(content, bytes)
