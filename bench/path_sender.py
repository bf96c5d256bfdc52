"""A crowd of Prometheus senders for ``bench.path``: real HTTP, requests as Prometheus shapes them.

One time series with all its labels per sample, 2,000 a request, snappy. Requests are prepared
once a block of series; before each sending only values and times are written into the bytes.
The first series of every request is a probe: its value crosses its alarm threshold every time.
"""

from __future__ import annotations

import http.client
import itertools
import json
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import cramjam
import numpy as np
from numpy.typing import NDArray

PER_REQUEST = 2000
PROBE = "mem.memused.percent"
_SERIES_A_HOST = 500
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "Prometheus/bench",
}
_TIME_BYTES = 6
"""A varint of this century's milliseconds."""


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(tag: int, body: bytes) -> bytes:
    return _number(tag << 3 | 2) + _number(len(body)) + body


def _labels(number: int) -> dict[str, str]:
    return {
        "__name__": f"http_request_duration_seconds_{number % 40}",
        "code": "200",
        "handler": f"/api/v1/items/{number % _SERIES_A_HOST // 40}",
        "instance": f"host{number // _SERIES_A_HOST:05d}.example.org:9100",
        "job": "application",
        "method": "GET",
    }


@dataclass
class Block:
    """The request of one block of series."""

    data: NDArray[np.uint8]
    value_at: NDArray[np.int64]
    time_at: NDArray[np.int64]
    probe: bool
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def body(self, time_ms: int, noise: NDArray[np.float64]) -> bytes:
        """Compressed, with new values at this time; the probe is on the other side."""
        size = len(self.value_at)
        values = noise[:size].copy()
        self.sent += 1
        if self.probe:
            values[0] = 99.0 if self.sent % 2 else 10.0
        places = self.value_at[:, None] + np.arange(8)
        self.data[places] = values.view(np.uint8).reshape(-1, 8)
        stamp = np.frombuffer(_number(time_ms), dtype=np.uint8)
        self.data[self.time_at[:, None] + np.arange(_TIME_BYTES)] = stamp
        return bytes(cramjam.snappy.compress_raw(self.data))


def block(first: int, size: int, probe: bool) -> Block:
    """The request of series ``first`` .. ``first + size - 1``."""
    out = bytearray()
    value_at, time_at = [], []
    sample = _field(2, b"\x09" + struct.pack("<d", 0.0) + b"\x10" + _number(1_700_000_000_000))
    for number in range(first, first + size):
        labels = _labels(number)
        if probe and number == first:
            labels = {"__name__": PROBE, "host": f"probe{first}"}
        encoded = b"".join(
            _field(1, _field(1, k.encode()) + _field(2, v.encode())) for k, v in labels.items()
        )
        out += _field(1, encoded + sample)
        time_at.append(len(out) - _TIME_BYTES)
        value_at.append(len(out) - _TIME_BYTES - 1 - 8)
    data = np.frombuffer(out, dtype=np.uint8).copy()
    return Block(data, np.array(value_at), np.array(time_at), probe)


class Crowd:
    """``connections`` senders that go round all blocks, each when its last request is answered."""

    def __init__(
        self, url: str, series: int, connections: int, probes: int, token: str = ""
    ) -> None:
        self._place = urlsplit(url)
        self._headers = _HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        starts = range(0, series, PER_REQUEST)
        every = max(len(starts) // probes, 1)
        self.blocks = [
            block(start, min(PER_REQUEST, series - start), index % every == 0)
            for index, start in enumerate(starts)
        ]
        self._turns = itertools.count()
        self._noise = np.random.default_rng(1).normal(50, 5, 64 * PER_REQUEST)
        self._connections = connections
        self._count = threading.Lock()
        self.samples = self.refused = 0
        self.latencies: list[float] = []

    def run(self, seconds: float, rounds: int, rate: float) -> dict[str, float]:
        """Send for some seconds (or whole rounds); at most ``rate`` samples/s unless 0."""
        self.samples = self.refused = 0
        self.latencies = []
        begin, cpu = time.monotonic(), time.process_time()
        until = begin + seconds if not rounds else float("inf")
        self._turns = itertools.count()
        first = 0
        last = first + rounds * len(self.blocks) if rounds else 1 << 62
        threads = [
            threading.Thread(target=self._send, args=(begin, until, first, last, rate))
            for _ in range(self._connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        slowest = np.percentile(self.latencies, 99) if self.latencies else 0.0
        return {
            "samples": self.samples,
            "refused": self.refused,
            "seconds": took,
            "request_p99_s": float(slowest),
            "cpu_s": time.process_time() - cpu,
        }

    def _send(self, begin: float, until: float, first: int, last: int, rate: float) -> None:
        link = http.client.HTTPConnection(self._place.hostname or "", self._place.port, timeout=120)
        while True:
            turn = next(self._turns)
            due = begin + (turn - first) * PER_REQUEST / rate if rate else 0.0
            now = time.monotonic()
            if turn >= last or max(now, due) > until:
                break
            if due > now:
                time.sleep(due - now)
            chosen = self.blocks[turn % len(self.blocks)]
            with chosen.lock:
                shift = turn * 997 % (63 * PER_REQUEST)
                body = chosen.body(time.time_ns() // 1_000_000, self._noise[shift:])
                started = time.monotonic()
                try:
                    link.request("POST", "/api/v1/write", body, self._headers)
                except BrokenPipeError:
                    # The server closes connections that were idle for seconds.
                    link.close()
                    link.request("POST", "/api/v1/write", body, self._headers)
                answer = link.getresponse()
                answer.read()
            with self._count:
                self.latencies.append(time.monotonic() - started)
                self.samples += len(chosen.value_at)
                self.refused += answer.status not in (200, 204)
        link.close()


def main() -> None:
    """Commands on stdin, one JSON line each; an answer a line on stdout."""
    start = json.loads(sys.stdin.readline())
    crowd = Crowd(**start)
    print(json.dumps({"ready": len(crowd.blocks)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(crowd.run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
