"""Names that every object store accepts in a key."""

from __future__ import annotations

import unicodedata

_READ_AS_OTHERS = ("\\", "${filename}")
"""A slash to some stores; and in the form of a signed upload, the name of the file sent."""


def is_storable(name: str) -> bool:
    """Return whether a key that ends in this name is that of one object, and of no other.

    Some stores read a backslash as a slash: names with one would replace a neighbour, or lead to
    another job's objects.
    """
    if any(part in name for part in _READ_AS_OTHERS) or any(
        unicodedata.category(c) in ("Cc", "Cs") for c in name
    ):
        return False
    return not {"", ".", ".."} & {*name.split("/")}
