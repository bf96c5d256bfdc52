"""Uploads packages of jobs, and downloads result files."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from shared.client.answers import Begun
from shared.client.connection import Connection
from shared.client.errors import BadInputError, RefusedError
from shared.client.memory import UploadMemory
from shared.client.transfers import fetch, put_part
from shared.contracts import Fault, JobPlanned
from shared.packages import PackageError, Packed, check, pack, syntax_problem


def packed(folder: Path, archive: Path) -> Packed:
    """Pack ``folder``/code and ``folder``/data; equal contents give equal bytes."""
    try:
        return pack(folder, archive)
    except (PackageError, OSError) as error:
        raise BadInputError(str(error)) from error


def check_package(path: Path, main: str) -> None:
    """Raise every reason why a folder or an archive is no package of this main program."""
    try:
        faults = check(path, main)
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    if faults:
        raise BadInputError("\n".join(faults))


def refuse_syntax(plan: JobPlanned | None, folder: Path, main: str) -> None:
    """Raise what this machine's Python cannot read, where its jobs run by the same Python."""
    if plan is None or plan.runtime != "local" or not folder.is_dir():
        return
    if problem := syntax_problem(folder, main):
        raise RefusedError("", [*plan.faults, Fault(field="main", problem=problem)])


@contextmanager
def archive_of(path: Path) -> Iterator[tuple[Path, str]]:
    """The package of a folder, or a package as it is, and its SHA-256."""
    with tempfile.TemporaryDirectory() as directory:
        archive = path
        if path.is_dir():
            archive = packed(path, Path(directory) / "package.tar.gz").path
        try:
            with archive.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadInputError(f"{path}: {error.strerror or error}") from error
        yield archive, digest


def upload(
    connection: Connection,
    archive: Path,
    sha256: str,
    project: str,
    progress: Callable[[int], object],
) -> str:
    """Upload a package or its missing parts, and return bucket:key:file."""
    size = archive.stat().st_size
    memory = UploadMemory(sha256)
    asked = {"sha256": sha256, "size": size, "project": project, "upload_id": memory.recall()}
    begun = connection.ask(Begun, "POST", "/uploads", json=asked)
    if begun.exists:
        progress(size)
        return begun.package
    memory.keep(begun.upload_id)
    with archive.open("rb") as file:
        for number, url in enumerate(begun.parts, 1):
            part = file.read(begun.part_bytes)
            if number not in begun.done:
                put_part(url, part)
            progress(len(part))
    done = {"sha256": sha256, "upload_id": begun.upload_id, "project": project}
    finished = connection.ask(Begun, "POST", "/uploads/finish", json=done, timeout=3600)
    memory.forget()
    return finished.package


def place(folder: Path, path: str) -> Path:
    """The path for a file; never outside of ``folder``, whatever the job called it."""
    target = folder / path
    inside = target.resolve().is_relative_to(folder.resolve())
    if not inside or {"", ".", ".."} & {*path.split("/")} or "\x00" in path:
        raise RefusedError(f"{path!r} would be written outside of {folder}")
    return target


def download(
    connection: Connection, job_id: str, path: str, target: Path, size: int, sha256: str | None
) -> None:
    """Fetch one of a job's files to ``target``, whole or not at all."""
    partial = target.with_name(f".{target.name[:200]}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = connection.location(f"/jobs/{job_id}/results/{quote(path)}")
        written = fetch(place, partial, size)
        if written[0] != size or sha256 not in {None, written[1]}:
            partial.unlink(missing_ok=True)
            raise RefusedError(f"{path} is not what the job stored")
        partial.replace(target)
    except OSError as error:
        raise BadInputError(f"{target}: {error.strerror or error}") from error
