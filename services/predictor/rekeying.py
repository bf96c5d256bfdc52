"""Selects the part of a predictor's snapshot that belongs to certain machines."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from services.predictor.ledger import Ledger
from shared.columns import Array
from shared.rekeying import Keeps, as_bytes, columns_kept, deriver_kept, rows_kept

_BY_SERIES = ("made.", "nearness.", "coverage.")


def select(arrays: Mapping[str, Array], keeps: Keeps) -> dict[str, Array]:
    """See `shared.rekeying.Select`. What the ledger has counted is copied."""
    names, rows = rows_kept(arrays["series.names"], keeps)
    found: dict[str, Array] = {"series.names": names}
    found |= deriver_kept(arrays, "deriver.", keeps)
    for prefix in _BY_SERIES:
        found |= columns_kept(arrays, prefix, rows)
    found |= columns_kept(arrays, "history.", rows[rows < len(arrays["history.open"])])
    rest = orjson.loads(arrays["rest"].tobytes())
    place = {row: at for at, row in enumerate(rows.tolist())}
    ledger = Ledger.model_validate(rest["ledger"])
    ledger.episodes = {place[r]: each for r, each in ledger.episodes.items() if r in place}
    rest["ledger"] = ledger.model_dump(mode="json")
    rest["choices"] = {place[int(r)]: c for r, c in rest["choices"].items() if int(r) in place}
    rest["pending"] = sorted(place[row] for row in rest["pending"] if row in place)
    return found | {"rest": as_bytes(rest)}
