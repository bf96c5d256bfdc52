"""Network interfaces and sockets."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psutil

from services.healer.agent.samplers.base import Reading, Sampler, share
from shared.device_names import VIRTUAL_INTERFACE

_SOCKSTAT = Path("/proc/net/sockstat")


class Interfaces(Sampler):
    """Traffic of every interface that is up, except the loopback, since the previous call.

    The share of the speed is only there where the interface has one and its driver knows it.
    """

    items = ("net.if.in.bytes", "net.if.out.bytes", "net.if.in.usage", "net.if.out.usage")
    is_rate = True

    def __init__(self) -> None:
        self._before, self._at = psutil.net_io_counters(pernic=True), time.monotonic()

    def sample(self) -> list[Reading]:
        now, at = psutil.net_io_counters(pernic=True), time.monotonic()
        before, span = self._before, at - self._at
        self._before, self._at = now, at
        stats = psutil.net_if_stats()
        if span <= 0:
            return []
        readings = []
        up = {name for name, stat in stats.items() if stat.isup and name != "lo"}
        for name in now.keys() & before.keys() & up:
            virtual = re.fullmatch(VIRTUAL_INTERFACE, name)
            speed = 0.0 if virtual else stats[name].speed * 1e6 / 8
            rates = {
                "in": (now[name].bytes_recv - before[name].bytes_recv) / span,
                "out": (now[name].bytes_sent - before[name].bytes_sent) / span,
            }
            for way, rate in rates.items():
                labels = {"interface": name}
                readings.append(Reading(f"net.if.{way}.bytes", max(0.0, rate), labels))
                if speed > 0:
                    readings.append(Reading(f"net.if.{way}.usage", share(rate, speed), labels))
        return readings


class Sockets(Sampler):
    """TCP sockets in TIME-WAIT: closed, but not yet released by the kernel."""

    items = ("ss.closed",)

    def sample(self) -> list[Reading]:
        for line in _SOCKSTAT.read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[:1] == ["TCP:"] and "tw" in words:
                return [Reading("ss.closed", float(words[words.index("tw") + 1]))]
        return []
