"""A recording of three disks, and a policy for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

DISK = "df.bytes.used.percent"
BEGIN_S = 1_700_000_400
POLICY = {"rules": [{"items": "df.*", "mode": "automatic", "remediation": "clean-logs"}]}


def disk_values(hours: int = 150) -> dict[str, np.ndarray]:
    """One disk fills at hour 120; one stays; one jumps at hour 100, unannounced."""
    noise = np.random.default_rng(1).normal(scale=0.2, size=(3, hours))
    steps = np.arange(hours)
    fills, stays = 30 + 0.5 * steps + noise[0], 40 + noise[1]
    return {"a": fills, "d": stays, "c": np.where(steps < 100, 40.0, 95.0) + noise[2]}


def disk_rows() -> list[tuple[str, str, int, float]]:
    """The same, a row each."""
    return [
        (host, DISK, BEGIN_S + 3600 * hour, float(value))
        for host, values in disk_values().items()
        for hour, value in enumerate(values)
    ]


def write_parquet(path: Path) -> Path:
    """Write them as Parquet."""
    host, item, time, value = zip(*disk_rows(), strict=True)
    stamps = pa.array([1000 * t for t in time], pa.timestamp("ms"))
    parquet.write_table(
        pa.table({"host": host, "item": item, "time": stamps, "value": value}), path
    )
    return path
