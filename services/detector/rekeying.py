"""Selects the part of a detector's snapshot that belongs to certain machines."""

from __future__ import annotations

from collections.abc import Mapping

from shared.columns import Array
from shared.rekeying import Keeps, columns_kept, deriver_kept, rows_kept

_APART = ("deriver/", "series/", "liveness/")
_OF_ALL = ("liveness/clock", "liveness/halted", "liveness/sender.", "liveness/names")


def select(arrays: Mapping[str, Array], keeps: Keeps) -> dict[str, Array]:
    """See `shared.rekeying.Select`. Senders bring machines of all partitions, and stay."""
    names, rows = rows_kept(arrays["series/names"], keeps)
    found: dict[str, Array] = {"series/names": names}
    found |= deriver_kept(arrays, "deriver/", keeps)
    found |= {n: array[rows] for n, array in arrays.items() if not n.startswith(_APART)}
    return found | _liveness(arrays, keeps)


def _liveness(arrays: Mapping[str, Array], keeps: Keeps) -> dict[str, Array]:
    names, rows = rows_kept(arrays["liveness/names"], keeps)
    columns = columns_kept(
        {name: array for name, array in arrays.items() if not name.startswith(_OF_ALL)},
        "liveness/",
        rows,
    )
    whole = {name: array for name, array in arrays.items() if name.startswith(_OF_ALL)}
    return {**columns, **whole, "liveness/names": names}
