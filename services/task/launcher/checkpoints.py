"""Checkpoints of members without a common file system: an archive in the object store.

The job's primary member stores its checkpoint directory while the program runs and when it ends;
every member finds the newest archive when it starts, and again when its cluster begins anew.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from services.task.spec import MemberSpec, checkpoint_key
from shared.packages import Bounds, Inventory, PackageError, unpack
from shared.packages.inventory import Entry, Kind
from shared.storage import MemberStore, NotFound, StorageError

log = structlog.get_logger(__name__)

_BOUNDS = Bounds(ratio=math.inf)
"""The archive is our own: new weights are zeros, which pack very well."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

_Signature = tuple[tuple[str, int, int], ...]


class Saver:
    """Stores a directory of checkpoints whenever it has changed."""

    def __init__(self, store: MemberStore, spec: MemberSpec, directory: Path) -> None:
        self._store, self._spec, self._directory = store, spec, directory
        self._saved: _Signature = ()
        self._turn = threading.Lock()

    def save(self) -> None:
        """Store what is there, if it is news.

        Raises:
            StorageError: when the store is away or refuses.
        """
        with self._turn:
            signature = _signature(self._directory)
            if signature == self._saved:
                return
            with tempfile.TemporaryDirectory(dir=self._spec.directory) as temporary:
                archive = Path(temporary) / "checkpoints.tar.gz"
                pack(self._directory, archive)
                key = checkpoint_key(self._spec.job.job_id)
                self._store.put(self._spec.credentials.bucket, key, archive)
            self._saved = signature

    def try_save(self) -> None:
        """Save while the program runs: a failure is only logged, the next time will do."""
        try:
            self.save()
        except (StorageError, OSError, tarfile.TarError) as error:
            log.warning("checkpoint_postponed", error=str(error))


def restore(store: MemberStore, spec: MemberSpec, directory: Path) -> bool:
    """Put the job's newest checkpoints into ``directory``; False when there are none.

    A store that is away, or an archive that is not whole, is no reason not to start: the program
    then begins from what it has.
    """
    # Not in the program's directory: it could put links in our way.
    with tempfile.TemporaryDirectory(dir=spec.directory) as temporary:
        archive, found = Path(temporary) / "archive", Path(temporary) / "found"
        try:
            store.fetch(spec.credentials.bucket, checkpoint_key(spec.job.job_id), archive)
            unpack(archive, found, _BOUNDS)
            for file in sorted(path for path in found.rglob("*") if path.is_file()):
                _put(file, directory, file.relative_to(found).parts)
        except NotFound:
            return False
        except (StorageError, PackageError, OSError) as error:
            log.warning("checkpoint_not_restored", error=str(error))
            return False
    return True


def _put(source: Path, directory: Path, parts: Sequence[str]) -> None:
    """Copy a file to ``parts`` below ``directory``; links there are replaced, never followed."""
    at = os.open(directory, _DIRECTORY)
    try:
        for name in parts[:-1]:
            below = _entered(at, name)
            os.close(at)
            at = below
        temporary = f".{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        copy = os.open(temporary, flags, 0o644, dir_fd=at)
        with source.open("rb") as read, os.fdopen(copy, "wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
        os.replace(temporary, parts[-1], src_dir_fd=at, dst_dir_fd=at)
    finally:
        os.close(at)


def _entered(at: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=at)
    try:
        return os.open(name, _DIRECTORY, dir_fd=at)
    except NotADirectoryError:
        os.unlink(name, dir_fd=at)
        os.mkdir(name, dir_fd=at)
        return os.open(name, _DIRECTORY, dir_fd=at)


def pack(directory: Path, archive: Path) -> None:
    """Archive the regular files below ``directory``; links are neither followed nor kept.

    Raises:
        OSError, tarfile.TarError: also when a file changed meanwhile.
    """
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for folder, _, names, at in os.fwalk(directory, follow_symlinks=False):
            for name in sorted(names):
                try:
                    descriptor = os.open(
                        name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at
                    )
                except OSError:
                    continue
                with os.fdopen(descriptor, "rb") as stream:
                    status = os.fstat(stream.fileno())
                    if not stat.S_ISREG(status.st_mode):
                        continue
                    path = (Path(folder) / name).relative_to(directory).as_posix()
                    entry = Entry(path, Kind.FILE, status.st_size)
                    if Inventory(_BOUNDS).add(entry) is None:
                        # One such name would make the whole archive one that is refused.
                        log.warning("checkpoint_file_left_out", file=path)
                        continue
                    info = tarfile.TarInfo(path)
                    info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o644
                    tar.addfile(info, stream)


def _signature(directory: Path) -> _Signature:
    found = []
    for path in directory.rglob("*"):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))
