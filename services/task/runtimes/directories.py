"""The directories of local members, and their owners.

A job's directory is root's; only the job's user may pass through it, and he owns nothing there but
``checkpoints`` and each member's ``work``. Where the platform is not root all of it is the user's
own. Programs change what is theirs while we look: so owners are set by descriptor, once, and links
are never followed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from shared.embedded.files import own_directory

_PASS = 0o711
_TMP = ".tmp"
"""A directory's name that no job has."""
_LONGEST_SCRATCH = 71
"""Bytes: a socket's path has 107, and Python's multiprocessing adds 32 to ``<scratch>/tmp``."""
_HASH = 12


def make_work_dir(work_dir: Path) -> None:
    """The directory of all jobs, which no job's user can list."""
    work_dir.mkdir(parents=True, exist_ok=True)
    _pass(work_dir)
    _pass(scratch_root(work_dir))


def make_job(directory: Path, uid: int | None) -> None:
    """A job's directory with its checkpoints, which all its members share."""
    directory.mkdir(exist_ok=True, mode=0o700)
    if uid is not None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(descriptor, 0, uid)
            os.fchmod(descriptor, 0o710)
        finally:
            os.close(descriptor)
    checkpoints = directory / "checkpoints"
    checkpoints.mkdir(exist_ok=True, mode=0o700)
    if uid is not None:
        _give(checkpoints, uid)


def owner(directory: Path) -> int | None:
    """The user of the job with this directory; None where it has none of its own."""
    try:
        group = directory.stat().st_gid
    except FileNotFoundError:
        return None
    return group if os.geteuid() == 0 and group != 0 else None


def make_incarnation(directory: Path) -> None:
    """The directory for one launcher's records; its program passes through it to ``work``."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in (directory.parent, directory):
        each.chmod(_PASS)


def hand_over(directory: Path, uid: int) -> None:
    """Make ``uid`` the owner of a directory of ours and all below it.

    The directory itself goes last: until then it is closed to ``uid``, so that nothing below can
    be exchanged while it is walked through.
    """
    directory.chmod(0o700)
    for _, folders, files, at in os.fwalk(directory, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=at, follow_symlinks=False)
    _give(directory, uid)


def scratch_root(work_dir: Path) -> Path:
    """The directory for members' HOME and TMPDIR; its path is short, for sockets."""
    beside = work_dir / _TMP
    if len(os.fsencode(beside)) + 1 + _HASH <= _LONGEST_SCRATCH:
        return beside
    return Path(f"/tmp/barograph-{os.geteuid()}")  # noqa: S108 - checked to be ours


def scratch(work_dir: Path, key: str) -> Path:
    """A member's own directory there."""
    name = hashlib.sha256(f"{work_dir}\0{key}".encode()).hexdigest()[:_HASH]
    return scratch_root(work_dir) / name


def _pass(directory: Path) -> None:
    own_directory(directory)
    if os.geteuid() == 0:
        directory.chmod(_PASS)


def _give(directory: Path, uid: int) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != uid:
            os.fchown(descriptor, uid, uid)
    finally:
        os.close(descriptor)
