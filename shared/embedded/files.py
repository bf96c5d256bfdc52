"""Files of the embedded servers that only their owner may read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from shared.embedded.process import EmbeddedError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that was never readable by others, replacing what was there in one step.

    Whoever reads it, or finds it after a crash, has all of the old text or all of the new one.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)


def kept_secrets(path: Path, makers: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """A secret for each name, the same at every start: they are kept in this private file.

    Whoever outlives a stack, such as a running job's launcher, goes on with the next one. Without
    the file, or with a damaged one, they are made anew.
    """
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        known = None
    if not isinstance(known, dict):
        known = {}
    secrets = {name: str(known.get(name) or make()) for name, make in makers.items()}
    if secrets != known:
        write_private(path, json.dumps(secrets, indent=2))
    return secrets


def own_directory(path: Path) -> None:
    """Make a directory that only we may enter; one that is there must be ours.

    Raises:
        EmbeddedError: when it belongs to another user, who could have put anything there.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(descriptor).st_uid
        if owner != os.geteuid():
            raise EmbeddedError(
                f"{path} belongs to user {owner}, not to user {os.geteuid()} who starts this: "
                "name another directory with --state, or give it to that user"
            )
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def close_to_others(directory: Path, spared: Collection[Path] = ()) -> None:
    """Take the rights of group and others from everything below; links are not followed.

    Args:
        directory: one of our own that is closed already, so that nobody changes it meanwhile.
        spared: directories below it that are left as they are.
    """
    for folder, folders, files, at in os.fwalk(directory, follow_symlinks=False):
        folders[:] = [name for name in folders if Path(folder, name) not in spared]
        for name in (*folders, *files):
            _close(name, at)


def _close(name: str, at: int) -> None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError:
        return  # a link, a socket, or gone meanwhile
    try:
        status = os.fstat(descriptor)
        if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)
