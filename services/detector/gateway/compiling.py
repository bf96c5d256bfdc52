"""Compiles the kernels that read requests, before the first sender waits for them."""

from __future__ import annotations

import numpy as np

from services.detector.gateway.known import KnownSeries
from services.detector.gateway.metadata import declared_kinds
from services.detector.gateway.otlp_size import check_protobuf
from services.detector.gateway.series_table import SeriesTable


def compile_reader(known: KnownSeries) -> None:
    """Read an empty request in each of its forms, and let an empty table grow and shrink."""
    nothing = np.empty(0, dtype=np.uint8)
    for second in (False, True):
        known.read(nothing, second=second)
    declared_kinds(nothing, 0)
    check_protobuf(b"")
    table = SeriesTable()
    table.grow(1)
    table.keep(np.empty(0, dtype=np.intp))
