"""Checkpoints of members without a common file system: an archive in the object store.

The job's primary member stores its checkpoint directory while the program runs and when it ends;
every member finds the newest archive when it starts, and again when its cluster begins anew.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import threading
from pathlib import Path

import structlog

from services.task.spec import MemberSpec, checkpoint_key
from shared.packages import PackageError, unpack
from shared.storage import MemberStore, NotFound, StorageError

log = structlog.get_logger(__name__)

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
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        archive, found = Path(temporary) / "archive", Path(temporary) / "found"
        try:
            store.fetch(spec.credentials.bucket, checkpoint_key(spec.job.job_id), archive)
            unpack(archive, found)
        except NotFound:
            return False
        except (StorageError, PackageError) as error:
            log.warning("checkpoint_not_restored", error=str(error))
            return False
        for file in sorted(path for path in found.rglob("*") if path.is_file()):
            target = directory / file.relative_to(found)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    return True


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
                    info = tarfile.TarInfo(str((Path(folder) / name).relative_to(directory)))
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
