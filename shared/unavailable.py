"""The error for an unavailable dependency: a broker, a database, an object store."""

from __future__ import annotations


class Unavailable(Exception):
    """It cannot be reached now, whatever was asked of it; a later attempt may succeed.

    Nobody is to blame for it: a message whose handling ends so is handled again, and not counted
    as one that fails.
    """
