"""What is handed in: from options, or from a TFJob and what was said beside it."""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LONGEST_NAME = 63
_GZIP = b"\x1f\x8b"


@dataclass
class Request:
    """A job about to be handed in: its fields, and the folder or package to upload, if any."""

    body: dict[str, Any]
    upload: Path | None


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that are not empty."""
    return {name: value for name, value in options.items() if value}


def is_tfjob(file: str) -> bool:
    """Whether ``-f`` names a TFJob's file rather than an uploaded package."""
    if not file or "\x00" in file:
        return False
    return Path(file).is_file() or (
        file.lower().endswith((".yaml", ".yml", ".json")) and ":" not in file
    )


def job_name(folder: Path) -> str:
    """A job's name made of a folder's or a package's: accents and what is no name left out."""
    stem = re.sub(r"(\.tar)?\.(gz|tgz|tar|zip)$", "", folder.resolve().name, flags=re.IGNORECASE)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)[:_LONGEST_NAME]
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", name) or "job"


def from_options(folder: Path | None, file: str, options: dict[str, Any]) -> Request:
    """A job of a folder, a package, or one that was uploaded before."""
    from services.client.tshell.door import Code, Stop  # noqa: PLC0415

    if bool(folder) == bool(file):
        text = "give either a folder (or package), -f bucket:key:file or -f tfjob.yaml"
        raise Stop(Code.BAD_INPUT, text)
    body = {"name": job_name(folder) if folder else "job"} | options
    if folder is None:
        return Request(body | {"package": file}, None)
    return Request(body, folder)


def from_tfjob(
    file: Path, folder: Path | None, spoken: dict[str, Any], made: Path, force: bool
) -> Request:
    """The fields of a TFJob; what was said on the command line wins."""
    from services.client.tshell.door import Code, Stop  # noqa: PLC0415
    from shared.tfjob import (  # noqa: PLC0415
        MAX_BYTES,
        NotImportableError,
        import_tfjob,
        write,
    )

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if data.startswith(_GZIP):
            text = f"{file} is an archive, not a TFJob: tshell submit {file}"
            raise Stop(Code.BAD_INPUT, text)
        found = import_tfjob(data, own_code=folder is not None, force=force)
    except OSError as error:
        raise Stop(Code.BAD_INPUT, f"{file}: {error.strerror or error}") from error
    except NotImportableError as error:
        hint = "--force hands it in without what is not supported" if error.can_go_without else ""
        raise Stop(Code.BAD_INPUT, "\n".join([*error.faults, hint]).rstrip()) from error
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    body = {"main": "main.py"} | found.body
    asked = spoken.pop("resources", {})
    if asked:
        body["resources"] = body.get("resources", {}) | asked
        own = body.get("role_resources", {})
        body["role_resources"] = {role: each | asked for role, each in own.items()}
    if "image" in spoken:
        body.pop("role_images", None)
    body |= spoken
    if folder is None:
        write(found.commands, made)
        return Request(body | {"main": "main.py"}, made)
    return Request(body, folder)
