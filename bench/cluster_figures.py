"""Figures of the benchmark of jobs on Kubernetes, from what its watches have seen."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.cluster_rig import until
from tests.cluster.watched import Created

Figures = dict[str, object]


def spread(values: Iterable[float]) -> Figures:
    """p50, p95 and the largest, in seconds."""
    found = np.array(list(values))
    if not found.size:
        return {"n": 0}
    quantiles = {"p50_s": 0.5, "p95_s": 0.95, "max_s": 1.0}
    shares = {name: round(float(np.quantile(found, q)), 3) for name, q in quantiles.items()}
    return {"n": int(found.size), **shares}


def launched(
    jobs: Created, pods: Created, handed: dict[str, float], timeout_s: float = 120
) -> Figures:
    """The time from handing a job over until a watch shows its objects."""
    until(lambda: handed.keys() <= pods.seen.keys(), timeout_s)
    first = {
        name: [
            min(watch.seen[each].values()) - at for each, at in handed.items() if each in watch.seen
        ]
        for name, watch in (("job", jobs), ("pod", pods))
    }
    return {f"to_{name}": spread(values) for name, values in first.items()}


def last(seen: dict[str, float]) -> str:
    """The name of the newest thing that was seen of a job."""
    return max(seen, key=lambda name: seen[name], default="nothing")
