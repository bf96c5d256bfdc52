"""Selects the part of a health snapshot that belongs to certain machines."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from shared.columns import Array
from shared.rekeying import Keeps, as_bytes, deriver_kept


def select(arrays: Mapping[str, Array], keeps: Keeps) -> dict[str, Array]:
    """See `shared.rekeying.Select`."""
    state = orjson.loads(arrays["state"].tobytes())
    state["machines"] = {host: known for host, known in state["machines"].items() if keeps(host)}
    return {"state": as_bytes(state), **deriver_kept(arrays, "deriver/", keeps)}
