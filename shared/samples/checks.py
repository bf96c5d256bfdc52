"""Checks an untrusted batch: keeps the valid rows, and names the faults of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.machine import machine_of
from shared.samples.batch import InvalidBatch, SampleBatch
from shared.samples.names import item_of, kept_labels
from shared.samples.times import fault_of, in_no_calendar

_MAX_FAULTS = 20
"""The number of faults that are named of one column; a person reads no more."""


def accepted(batch: SampleBatch) -> tuple[SampleBatch, list[str]]:
    """The rows whose names, time and value can be named, under the names they are kept by.

    A row that is left out costs no other; the faults name what was wrong.
    """
    faults: list[str] = []
    keep = np.ones(len(batch), dtype=np.bool_)
    columns = []
    for what, names, codes, kept in (
        ("host", batch.hosts, batch.host_code, machine_of),
        ("item", batch.items, batch.item_code, item_of),
        ("labels", batch.labels, batch.label_code, _labels_of),
    ):
        known = _kept(what, names, kept, faults)
        columns.append([name or "" for name in known])
        good = np.array([name is not None for name in known], dtype=np.bool_)
        keep &= good[codes] if len(good) else True
    keep &= _in_range(batch, faults)
    hosts, items, labels = columns
    found = replace(batch, hosts=hosts, items=items, labels=labels, hashes=None)
    return (found if keep.all() else found.select(keep)), faults


def check(batch: SampleBatch) -> SampleBatch:
    """The batch under the names it is kept by; raises InvalidBatch naming every fault."""
    found, faults = accepted(batch)
    if faults:
        raise InvalidBatch(faults)
    return found


def _kept(
    what: str,
    names: Iterable[str | None],
    kept: Callable[[str], str | None],
    faults: list[str],
) -> list[str | None]:
    found = [None if name is None else kept(name) for name in names]
    bad = [name for name, good in zip(names, found, strict=True) if good is None]
    faults += [f"{what} {str(name)[:80]!r}: {_WANTED[what]}" for name in bad[:_MAX_FAULTS]]
    if len(bad) > _MAX_FAULTS:
        faults.append(f"and {len(bad) - _MAX_FAULTS} more of {what}")
    return found


_WANTED = {
    "host": "not a machine's name",
    "item": "not a metric's name",
    "labels": "not a JSON object of texts",
}


def _labels_of(text: str) -> str | None:
    if not text:
        return text
    try:
        labels = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        return None
    return kept_labels(labels).text


def _in_range(batch: SampleBatch, faults: list[str]) -> NDArray[np.bool_]:
    bad_time = in_no_calendar(batch.time_ms)
    infinite = np.isinf(batch.value)
    if bad_time.any():
        at = int(np.argmax(bad_time))
        faults.append(
            f"time_ms of sample {at}: {fault_of(int(batch.time_ms[at]))} "
            f"({int(bad_time.sum())} such samples)"
        )
    if infinite.any():
        at = int(np.argmax(infinite))
        faults.append(f"value of sample {at} is infinite ({int(infinite.sum())} such samples)")
    return np.asarray(~(bad_time | infinite))
