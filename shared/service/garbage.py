"""Freezes long-lived objects, so that the garbage collector does not scan them again."""

from __future__ import annotations

import gc


def keep_what_is_loaded() -> None:
    """Exempt the objects of now, which live as long as the process, from garbage collection.

    A partition's worker brings compiled kernels with tens of thousands of objects. A collection
    that looks through them takes longer than the handling of the message that caused it.
    """
    gc.collect()
    gc.freeze()
