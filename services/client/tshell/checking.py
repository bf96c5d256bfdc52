"""Checks of a job before anything of it is uploaded."""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.client.tshell.request import Request
    from shared.client import Client

_REQUIREMENTS = ("requirements.txt", "environment.yml", "Pipfile")


def check_package(request: Request) -> None:
    """Stop with every reason why the folder or archive of a job is no package of it."""
    if request.upload is None:
        return
    check_path(request.upload, request.body["main"])
    for name in _REQUIREMENTS:
        if (request.upload / "code" / name).is_file():
            text = (
                f"note: {name} is not installed for the job: its image has to hold what it names, "
                f"or put that beside the program, as by pip install --target"
            )
            print(text, file=sys.stderr)


def check_path(path: Path, main: str | None = None) -> None:
    """Stop with every reason why a folder or an archive is no package."""
    from services.client.tshell.stop import Code, Stop  # noqa: PLC0415
    from shared.packages import check  # noqa: PLC0415

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
    path = request.upload / "code" / request.body["main"]
    if path.suffix != ".py":
        return ""  # it is refused for that
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the program's own business
            ast.parse(path.read_bytes(), str(Path(request.body["main"])))
    except SyntaxError as error:
        return f"main: {error.filename}, line {error.lineno}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError):
        return ""  # nothing that could be said for sure
    return ""


def planned(client: Client, body: dict[str, Any]) -> dict[str, Any] | None:
    """The installation's answer to what the job would be; None when none came in time."""
    answer = client.plan(**body)
    return None if answer is None else answer.model_dump(mode="json")


def check_plan(client: Client, request: Request) -> None:
    """Stop with every reason why the installation would refuse the job."""
    from services.client.tshell.stop import Code, Stop  # noqa: PLC0415

    syntax = syntax_fault(request)
    answer = planned(client, request.body)
    if answer is None:
        text = "note: nobody answered in time whether it can run; handed in all the same"
        print(text, file=sys.stderr)
        return
    faults = [f"{f['field']}: {f['problem']}".removeprefix(": ") for f in answer["faults"]]
    if syntax and answer["runtime"] == "local":
        faults.append(syntax)
    elif syntax:
        print(f"note: {syntax} (for this machine's Python)", file=sys.stderr)
    if faults:
        raise Stop(Code.REFUSED, "\n".join(f"refused: {fault}" for fault in faults))
