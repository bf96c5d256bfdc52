"""The machine and load of a benchmark, for the last line of each."""

from __future__ import annotations

import importlib.metadata
import os
import platform


def surroundings(*libraries: str) -> dict[str, object]:
    """Versions (None: not installed), processors, and the load of the last minute."""
    return {
        "versions": {name: _version(name) for name in libraries},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
