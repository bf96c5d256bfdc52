"""Utilisation and latency of block devices."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import psutil

from services.healer.agent.samplers.base import Reading, Sampler, share
from shared.device_names import LAYERED, NO_DISK

_NOT_DISKS = re.compile(f"{NO_DISK}|{LAYERED}")


class Devices(Sampler):
    """Whole disks since the previous call; partitions and volumes on disks are left out."""

    items = ("disk.io.util", "disk.io.await")
    is_rate = True

    def __init__(self) -> None:
        self._before, self._at = self._counters(), time.monotonic()

    def sample(self) -> list[Reading]:
        now, at = self._counters(), time.monotonic()
        before, span_ms = self._before, (at - self._at) * 1000
        self._before, self._at = now, at
        readings = []
        for device in now.keys() & before.keys():
            new, old, labels = now[device], before[device], {"device": device}
            readings.append(
                Reading("disk.io.util", share(new.busy_time - old.busy_time, span_ms), labels)
            )
            spent = new.read_time + new.write_time - old.read_time - old.write_time
            requests = new.read_count + new.write_count - old.read_count - old.write_count
            mean = max(0.0, spent / requests) if requests > 0 else 0.0
            readings.append(Reading("disk.io.await", mean, labels))
        return readings

    @staticmethod
    def _counters() -> dict[str, Any]:
        found = psutil.disk_io_counters(perdisk=True) or {}
        return {
            device: counters
            for device, counters in found.items()
            if not _NOT_DISKS.fullmatch(device) and Path("/sys/block", device).exists()
        }
