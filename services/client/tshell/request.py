"""The request to submit, from options or from a job's file with options."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.job_names import job_name

_GZIP = b"\x1f\x8b"


@dataclass
class Request:
    """A job about to be submitted: its fields, and the folder or package to upload, if any."""

    body: dict[str, Any]
    upload: Path | None


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not empty."""
    return {name: value for name, value in options.items() if value}


def is_file(file: str) -> bool:
    """Return whether ``-f`` names a job file or TFJob rather than an uploaded package.

    It may also be ``-``, a pipe such as ``<(envsubst < job.yaml)``, or a file that is not there.
    """
    if not file or "\x00" in file:
        return False
    if ":" not in file:
        return True
    from shared.packages.places import place_of

    try:
        return place_of(file) is None or Path(file).exists()
    except OSError:  # no file has so long a name
        return False


def environment(said: list[str] | None) -> dict[str, str]:
    """Variables of ``-e NAME=VALUE``; ``-e NAME`` passes on this shell's own."""
    from services.client.tshell.stop import Code, Stop

    found = {}
    for each in said or []:
        name, given_here, value = each.partition("=")
        if not given_here and name not in os.environ:
            text = f"-e {name}: this shell has no such variable; write {name}=VALUE"
            raise Stop(Code.BAD_INPUT, text)
        found[name] = value if given_here else os.environ[name]
    return found


def from_options(folder: Path | None, file: str, options: dict[str, Any]) -> Request:
    """A job of a folder, a package, or one that was uploaded before."""
    from services.client.tshell.stop import Code, Stop

    if bool(folder) == bool(file):
        text = "give either a folder (or package), -f bucket:key:file or -f job.yaml"
        raise Stop(Code.BAD_INPUT, text)
    body = {"name": job_name(folder) if folder else "job"} | options
    if folder is None:
        return Request(body | {"package": file}, None)
    return Request(body, folder)


def from_file(
    file: Path, folder: Path | None, spoken: dict[str, Any], made: Path, force: bool
) -> Request:
    """The fields of a job's file or of a TFJob; what was said on the command line wins."""
    from services.client.job_file import (
        FaultyJobFileError,
        is_of_kubernetes,
        read_job_file,
    )
    from services.client.tshell.stop import Code, Stop
    from shared.tfjob import NotImportableError

    data = _bytes_of(file)
    try:
        if is_of_kubernetes(data):
            return _from_tfjob(data, folder, spoken, made, force)
        return _from_fields(read_job_file(data), folder, spoken)
    except FaultyJobFileError as error:
        lines = "\n".join(f"{file}: {line}" for line in str(error).splitlines())
        raise Stop(Code.BAD_INPUT, lines) from error
    except NotImportableError as error:
        hint = "--force submits it without what is not supported" if error.can_go_without else ""
        raise Stop(Code.BAD_INPUT, "\n".join([*error.faults, hint]).rstrip()) from error


def _bytes_of(file: Path) -> bytes:
    from services.client.tshell.stop import Code, Stop
    from shared.tfjob import MAX_BYTES

    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        text = f"{file}: {error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            text += "; -f takes a file of this machine, or an uploaded package's bucket:key:file"
        raise Stop(Code.BAD_INPUT, text) from error
    if data.startswith(_GZIP):
        text = f"{file} is an archive, not a job's file: tshell submit {file}"
        raise Stop(Code.BAD_INPUT, text)
    return data


def _from_fields(body: dict[str, Any], folder: Path | None, spoken: dict[str, Any]) -> Request:
    from services.client.tshell.stop import Code, Stop

    if folder is None and "package" not in body:
        text = "no code: give its folder beside the file, or name its package in the file"
        raise Stop(Code.BAD_INPUT, text)
    body = {"main": "main.py", "name": job_name(folder) if folder else "job"} | body
    _prefer(body, spoken)
    if folder is not None:
        for name in ("package", "package_sha256"):
            body.pop(name, None)
    return Request(body, folder)


def _from_tfjob(
    data: bytes, folder: Path | None, spoken: dict[str, Any], made: Path, force: bool
) -> Request:
    from shared.tfjob import import_tfjob, write

    found = import_tfjob(data, own_code=folder is not None, force=force)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    body = {"main": "main.py"} | found.body
    _prefer(body, spoken)
    if folder is None:
        write(found.commands, made)
        return Request(body | {"main": "main.py"}, made)
    return Request(body, folder)


def _prefer(body: dict[str, Any], spoken: dict[str, Any]) -> None:
    """Let what was said on the command line win over what a file says."""
    asked = spoken.pop("resources", {})
    if asked:
        body["resources"] = body.get("resources", {}) | asked
        own = body.get("role_resources", {})
        body["role_resources"] = {role: each | asked for role, each in own.items()}
    if "image" in spoken:
        body.pop("role_images", None)
    if "env" in spoken:
        body["env"] = body.get("env", {}) | spoken.pop("env")
    body |= spoken
