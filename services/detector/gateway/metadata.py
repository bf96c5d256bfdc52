"""Exporters' metadata, which declares counters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.detector.gateway import wire
from services.detector.gateway.names import Names
from services.detector.gateway.protobuf import fields, read_number
from shared.counters import declared_series
from shared.samples import item_of

_MAX_COUNTERS = 50_000
"""Names that are remembered."""
_MAX_PIECE_BYTES = 65_536
"""The name, unit and help of one family may have so many."""
_KINDS = {1: "counter", 3: "histogram", 5: "summary"}
"""The types of both protocols' metadata that have counters."""
_METADATA, _TYPE, _FAMILY = 3, 1, 2
"""Fields of 1.0: WriteRequest's metadata, and in it the type and the family's name."""
_VARINT, _BYTES = 0, 2


class Declared:
    """The items that were declared to be counters."""

    def __init__(self) -> None:
        self._counters: set[str] = set()

    def among(self, items: Sequence[str]) -> tuple[str, ...]:
        """The declared ones among ``items``."""
        return tuple(item for item in items if item in self._counters) if self._counters else ()

    def read_1(self, data: NDArray[np.uint8], pieces: int) -> None:
        """Take in the ``pieces`` of metadata of a measured 1.0 request."""
        places = wire.Places(*np.empty((2, pieces), dtype=np.int64))
        wire.locate(data, _METADATA, places)
        for start, end in zip(*places, strict=True):
            if end - start <= _MAX_PIECE_BYTES:
                for name in _series_of(data[start:end].tobytes()):
                    self._add(name)

    def read_2(self, kinds: NDArray[np.int8], item: NDArray[np.int32], items: Names) -> None:
        """Take in what a 2.0 request says of its samples' series.

        Args:
            kinds: (samples,) types, as ``wire.declared`` has found them.
            item: (samples,) numbers of the samples' items.
            items: all items.
        """
        for kind, name in _KINDS.items():
            for code in np.unique(item[kinds == kind]):
                found = items[code]
                family = found.rpartition("_")[0]
                if name == "counter" or found in declared_series(family, name):
                    self._add(found)

    def _add(self, name: str) -> None:
        item = item_of(name)
        if item is not None and len(self._counters) < _MAX_COUNTERS:
            self._counters.add(item)


def declared_kinds(data: NDArray[np.uint8], samples: int) -> NDArray[np.int8]:
    """(samples,) the declared types in a measured 2.0 request."""
    kinds = np.zeros(samples, dtype=np.int8)
    wire.declared(data, kinds)
    return kinds


def _series_of(body: bytes) -> Iterator[str]:
    kind, family = 0, ""
    for number, form, begin, stop in fields(body, 0, len(body)):
        if number == _TYPE and form == _VARINT:
            kind, _ = read_number(body, begin, stop)
        elif number == _FAMILY and form == _BYTES:
            family = body[begin:stop].decode(errors="replace")
    if family:
        yield from declared_series(family, _KINDS.get(kind, ""))
