"""The version of a replay: of the code and the libraries on which each byte of its events depends.

The package's version alone is not enough, since two checkouts may have the same.
"""

from __future__ import annotations

import platform
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("numpy", "scipy", "numba", "statsmodels", "pyarrow")
_SOURCES = ("replay", "services/detector", "services/predictor", "shared")


@cache
def replay_version() -> str:
    """The version in words: the package's, a digest of the source code, and the libraries'."""
    libraries = ", ".join(f"{name} {_installed(name)}" for name in _LIBRARIES)
    python = platform.python_version()
    return f"barograph {_installed('barograph')} (code {_code()}, Python {python}, {libraries})"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _code() -> str:
    root, digest = Path(__file__).parents[1], blake2b(digest_size=6)
    for path in sorted(file for each in _SOURCES for file in (root / each).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(blake2b(path.read_bytes()).digest())
    return digest.hexdigest()
