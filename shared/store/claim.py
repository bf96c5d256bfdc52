"""A process's claim to a SQLite database: a locked file that its end releases."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from shared.store.errors import StoreInUse


def claimed(database: str | None) -> IO[bytes] | None:
    """The open file that is the claim; nothing for a database in memory, which nobody else sees.

    Raises:
        StoreInUse: when another process has the claim.
    """
    if database in (None, "", ":memory:"):
        return None
    path = Path(f"{database}.owner")
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = file.read(20).decode(errors="replace").strip() or "unknown"
        file.close()
        raise StoreInUse(
            f"another process (pid {owner}) works with {database}: a SQLite database serves one"
            " process; replicas need PostgreSQL (BAROGRAPH_STORE_URL)"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file
