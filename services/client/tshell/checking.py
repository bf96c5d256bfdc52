"""Checks of a job before anything of it is uploaded."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shared.visible import visible

if TYPE_CHECKING:
    from services.client.tshell.request import Request
    from shared.contracts import JobPlanned

_BEGINNING, _MAX_NAMED, _MAX_LOOKED_AT, _MAX_DEPTH = 4096, 5, 20_000, 64
_LFS, _LFS_SIZES = b"version https://git-lfs.github.com/spec/", range(60, 1024)
"""The beginning of a pointer of Git LFS, and its greatest length by the specification."""
_TWO_WORDS = re.compile(r"--[\w-]+ \S")
_REQUIREMENTS = ("requirements.txt", "environment.yml", "Pipfile")


def check_package(request: Request) -> None:
    """Stop with every reason why the folder or archive of a job is no package of it."""
    if request.upload is None:
        return
    check_path(request.upload, request.body["main"])
    for script in scripts_with_windows_ends(request.upload / "code"):
        text = f"{script} has Windows' line ends (CRLF), at which a shell fails; see dos2unix"
        print(f"note: {visible(text)}", file=sys.stderr)
    if pointers := pointers_of_git_lfs(request.upload):
        more = f" and {len(pointers) - _MAX_NAMED} more" if len(pointers) > _MAX_NAMED else ""
        named = ", ".join(pointers[:_MAX_NAMED]) + more
        text = f"not fetched from Git LFS, only pointers are here: {named}; see git lfs pull"
        print(f"note: {visible(text)}", file=sys.stderr)
    for name in _REQUIREMENTS:
        if (request.upload / "code" / name).is_file():
            text = (
                f"note: {name} is not installed for the job: use an image that has these packages, "
                f"or install them beside the program with pip install --target"
            )
            print(text, file=sys.stderr)


def check_arguments(request: Request) -> None:
    """Note an argument that is probably two."""
    for word in request.body.get("args") or ():
        if _TWO_WORDS.match(str(word)):
            text = f"note: {visible(word[:60])!r} is one argument; an option and its value are two"
            print(f"{text}, or joined by =", file=sys.stderr)


def scripts_with_windows_ends(code: Path) -> list[str]:
    """Scripts that an editor of Windows saved: their line ends are read as words.

    That is by a shell, and by the kernel in the first line of what is executed.
    """
    found = []
    for path, mode in _files(code):
        if path.suffix == ".sh":
            crlf = b"\r\n" in _beginning(path)
        else:
            start = _beginning(path) if mode & 0o111 else b""
            crlf = start.startswith(b"#!") and start.partition(b"\n")[0].endswith(b"\r")
        if crlf:
            found.append(path.relative_to(code.parent).as_posix())
    return found[:_MAX_NAMED]


def pointers_of_git_lfs(folder: Path) -> list[str]:
    """Files that Git LFS has not fetched: in their place is a note of where they are."""
    found = []
    for top in ("code", "data"):
        for path, _ in _files(folder / top, _LFS_SIZES):
            if _beginning(path).startswith(_LFS):
                found.append(path.relative_to(folder).as_posix())
    return found


def _files(folder: Path, sizes: range | None = None) -> Iterator[tuple[Path, int]]:
    """The first files below a folder, in order, with their modes; of these sizes only."""
    left = _MAX_LOOKED_AT
    for directory, folders, names in os.walk(folder):
        folders.sort()
        if len(Path(directory).relative_to(folder).parts) > _MAX_DEPTH:
            folders.clear()  # `check` names what is too deep
        for name in sorted(names):
            left -= 1
            if left < 0:
                return
            path = Path(directory, name)
            with suppress(OSError):  # `check` names what cannot be read
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and (sizes is None or status.st_size in sizes):
                    yield path, status.st_mode


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING)
    except OSError:
        return b""


def check_path(path: Path, main: str | None = None) -> None:
    """Stop with every reason why a folder or an archive is no package."""
    from services.client.tshell.stop import Code, Stop
    from shared.packages import check

    try:
        faults = check(path, main)
    except OSError as error:
        raise Stop(Code.BAD_INPUT, f"{path}: {error.strerror or error}") from error
    if faults:
        raise Stop(Code.BAD_INPUT, "\n".join(faults))


def syntax_fault(request: Request) -> str:
    """The fault that this machine's Python finds in the main program; '' for none."""
    if request.upload is None or not request.upload.is_dir():
        return ""
    from shared.packages import syntax_problem

    problem = syntax_problem(request.upload, request.body["main"])
    return f"main: {problem}" if problem else ""


def check_plan(request: Request, plan: JobPlanned | None) -> None:
    """Stop with every reason why the installation would refuse the job."""
    from services.client.tshell.stop import Code, Stop

    syntax = syntax_fault(request)
    if plan is None:
        text = "note: nobody answered in time whether it can run; submitted all the same"
        print(text, file=sys.stderr)
        return
    for note in plan.notes:
        print(f"note: {visible(note)}", file=sys.stderr)
    faults = [f"{f.field}: {f.problem}".removeprefix(": ") for f in plan.faults]
    if syntax and plan.runtime == "local":
        faults.append(syntax)
    elif syntax:
        print(f"note: {syntax} (for this machine's Python)", file=sys.stderr)
    if faults:
        raise Stop(Code.REFUSED, "\n".join(f"refused: {fault}" for fault in faults))
