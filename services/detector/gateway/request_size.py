"""Measures a remote-write request before anything is created from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.detector.gateway.wire import Sizes, measure
from shared.samples import InvalidBatch

_PROTO_1, _PROTO_2 = "1.0, prometheus.WriteRequest", "2.0, io.prometheus.write.v2.Request"
MAX_SAMPLES = 50_000
"""The number of samples that one request may carry."""
_LIMITS = Sizes(
    series=MAX_SAMPLES,
    samples=MAX_SAMPLES,
    histograms=MAX_SAMPLES,
    symbols=40 * MAX_SAMPLES,
    metadata=MAX_SAMPLES,
    labels=40 * MAX_SAMPLES,
)


def sizes_of(data: NDArray[np.uint8], *, second: bool) -> Sizes:
    """The contents of a decompressed request; ``second`` for the message of 2.0.

    Raises InvalidBatch for one that is damaged or holds too much.
    """
    counted = np.zeros(len(Sizes._fields), dtype=np.int64)
    at = measure(data, second, counted)
    if at >= 0:
        raise InvalidBatch([f"not a write request: damaged at byte {at}"])
    sizes = Sizes(*counted.tolist())._replace(labels=int(counted[-1]) // 2)
    if not sizes.series and (sizes.metadata if second else sizes.symbols):
        other = _PROTO_1 if second else _PROTO_2
        raise InvalidBatch([f"no series; Content-Type must name {other}, as it looks like"])
    over = [
        name for name, size, most in zip(Sizes._fields, sizes, _LIMITS, strict=True) if size > most
    ]
    if over:
        raise InvalidBatch(
            [f"more than {getattr(_LIMITS, each)} {each} in one request" for each in over]
        )
    return sizes
