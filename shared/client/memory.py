"""Remembers interrupted uploads on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{32}")


class UploadMemory:
    """The id under which an upload of this digest can be continued; only its user can read it.

    Remembering is a convenience: where nothing can be written, an upload begins again.
    """

    def __init__(self, sha256: str) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        self._path = cache / "barograph" / "uploads" / sha256

    def recall(self) -> str:
        """The id; '' when there is none."""
        try:
            kept = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""
        return kept if _ID.fullmatch(kept) else ""

    def keep(self, upload_id: str) -> None:
        """Remember the id."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(self._path, flags, 0o600), "w", encoding="ascii") as file:
                file.write(upload_id)
        except OSError:
            return

    def forget(self) -> None:
        """The upload is finished."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return
