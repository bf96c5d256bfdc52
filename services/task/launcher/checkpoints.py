"""Stores checkpoints of members without a shared file system as an archive in the object store.

The job's primary member stores its checkpoint directory while the program runs and when it ends;
every member finds the newest archive when it starts, and again when its cluster begins again.
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
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from services.task.launcher import patience
from services.task.launcher.package import Unusable
from services.task.spec import MemberSpec, checkpoint_key
from shared import trees
from shared.packages import Bounds, Inventory, PackageError, unpack
from shared.packages.inventory import Entry
from shared.packages.tree import Kind
from shared.storage import MemberStore, NotFound, StorageError, StorageUnavailable

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

    def save(self, patience_s: float) -> None:
        """Store what is there, if it is news; retries while the store is unavailable.

        Raises:
            StorageError: when the store is unavailable or refuses.
        """
        with self._turn:
            signature = _signature(self._directory)
            if signature == self._saved:
                return
            with tempfile.TemporaryDirectory(dir=self._spec.directory) as temporary:
                archive = Path(temporary) / "checkpoints.tar.gz"
                pack(self._directory, archive)
                key = checkpoint_key(self._spec.job.job_id)
                bucket, deadline = self._spec.credentials.bucket, time.monotonic() + patience_s
                patience.put(self._store, bucket, key, archive, deadline)
            self._saved = signature

    def try_save(self) -> None:
        """Save while the program runs: a failure is only logged, the next time will do."""
        try:
            self.save(0.0)
        except (StorageError, OSError, tarfile.TarError) as error:
            log.warning("checkpoint_postponed", error=str(error))


def restore(store: MemberStore, spec: MemberSpec, directory: Path) -> bool:
    """Put the job's newest checkpoints into ``directory``; False when there are none.

    A damaged archive does not keep the program from starting: it starts without them. An
    unavailable store does: what the program would store from its beginning took the place of days.

    Raises:
        Unusable: when the store stays away.
    """
    # Not in the program's directory: it could put links in our way.
    with tempfile.TemporaryDirectory(dir=spec.directory) as temporary:
        archive, found = Path(temporary) / "archive", Path(temporary) / "found"
        try:
            bucket, key = spec.credentials.bucket, checkpoint_key(spec.job.job_id)
            patience.fetch(store, bucket, key, archive)
            unpack(archive, found, _BOUNDS)
            for file in sorted(path for path in found.rglob("*") if path.is_file()):
                _put(file, directory, file.relative_to(found).parts)
        except NotFound:
            return False
        except StorageUnavailable as error:
            reason = f"its checkpoints could not be fetched: {error}"
            raise Unusable(reason, infrastructure=True) from error
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
        for below, at in trees.files(directory, _BOUNDS.depth):
            try:
                descriptor = os.open(
                    below.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at
                )
            except OSError:
                continue
            with os.fdopen(descriptor, "rb") as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    continue
                path = below.as_posix()
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
    for path, at in trees.files(directory, _BOUNDS.depth):
        try:
            status = os.stat(path.name, dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))
