"""Default names of jobs, from their folder or package."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

_LONGEST_NAME = 63


def job_name(folder: Path) -> str:
    """Derive a job's name from a folder or package, without accents and invalid characters."""
    stem = re.sub(r"(\.tar)?\.(gz|tgz|tar|zip)$", "", folder.resolve().name, flags=re.IGNORECASE)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain)[:_LONGEST_NAME]
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", name) or "job"
