"""Checks of a job before anything of it is uploaded."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.client.tshell.request import Request
    from shared.contracts import JobPlanned

_MOST_SCRIPTS, _BEGINNING = 100, 4096
_REQUIREMENTS = ("requirements.txt", "environment.yml", "Pipfile")


def check_package(request: Request) -> None:
    """Stop with every reason why the folder or archive of a job is no package of it."""
    if request.upload is None:
        return
    check_path(request.upload, request.body["main"])
    for script in scripts_with_windows_ends(request.upload / "code"):
        text = f"note: {script} has Windows' line ends (CRLF), at which a shell fails; see dos2unix"
        print(text, file=sys.stderr)
    for name in _REQUIREMENTS:
        if (request.upload / "code" / name).is_file():
            text = (
                f"note: {name} is not installed for the job: use an image that has these packages, "
                f"or install them beside the program with pip install --target"
            )
            print(text, file=sys.stderr)


def scripts_with_windows_ends(code: Path) -> list[str]:
    """Shell scripts that an editor of Windows saved: a shell reads their line ends as words."""
    found = []
    for path in islice(sorted(code.glob("**/*.sh")), _MOST_SCRIPTS):
        try:
            with path.open("rb") as script:
                if b"\r\n" in script.read(_BEGINNING):
                    found.append(path.relative_to(code.parent).as_posix())
        except OSError:
            continue  # `check` names what cannot be read
    return found


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
    from shared.visible import visible

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
