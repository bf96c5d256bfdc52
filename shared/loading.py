"""Loads a program, and keeps the garbage collector from scanning what it has loaded."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager

UNNEEDED = ("rich", "pygments", "colorama")
"""structlog and httpx import these where they are installed, for output in colour. A service logs
JSON."""

_YOUNG = 20_000
"""The objects that may be added until the youngest are looked through; Python's 700 are few."""


@contextmanager
def loading(hidden: Collection[str] = ()) -> Iterator[None]:
    """Import modules without collections of garbage, and exempt them from later ones.

    A service imports a thousand modules. The collections that their objects cause meanwhile are a
    fifth of the time, and find half a megabyte.

    Args:
        hidden: packages that cannot be imported meanwhile, which other packages do without.
    """
    gone = [name for name in hidden if name not in sys.modules]
    sys.modules.update(dict.fromkeys(gone))  # type: ignore[arg-type]  # None: not to be imported
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        for name in gone:
            del sys.modules[name]


def keep_what_is_loaded() -> None:
    """Exempt the objects of now, which live as long as the process, from garbage collection.

    A partition's worker brings compiled kernels with tens of thousands of objects. A collection
    that looks through them takes longer than the handling of the message that caused it.

    What messages leave behind is freed without a collection, as it has no cycles. A message with
    its curves makes hundreds of objects, so by default there is a collection for every few.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG)
