"""Limits of packages, and the errors for packages that violate them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FAULTS = 50
"""The largest number of named faults; finding more would be work for an attacker."""


@dataclass(frozen=True)
class Bounds:
    """The limits of a package, the same for packing, checking and unpacking.

    ``total_bytes`` and ``ratio`` count whatever is larger: what the compressed stream yields,
    headers included, or what the files take once they are written.
    """

    total_bytes: int = 20 * 2**30
    file_bytes: int = 10 * 2**30
    members: int = 200_000
    """Files, links and directories, those included that are only part of another's name."""
    ratio: float = 200.0
    """Unpacked over packed size."""
    ratio_from_bytes: int = 2 * 2**30
    """The ratio is judged from this unpacked size on: a data file of zeros is no attack."""
    header_bytes: int = 256 * 2**10
    """The headers before one member's contents, long names and extended attributes included."""
    global_headers: int = 64
    names_bytes: int = 64 * 2**20
    """The bytes of all names and targets of links together, as they are held in memory."""
    path_bytes: int = 3000
    name_bytes: int = 255
    depth: int = 64


class PackageError(Exception):
    """A package cannot be made or read."""


class PackageRefused(PackageError):
    """A package is not safe or not well-formed; ``faults`` names what was found."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:MAX_FAULTS]))
        self.faults = faults[:MAX_FAULTS]
