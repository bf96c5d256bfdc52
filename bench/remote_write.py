"""Reading remote-write requests: the gateway's reader beside Google's protobuf, in one run.

Requests as Prometheus shapes them (one time series with all its labels per sample, 2,000 a
request, already decompressed). Protobuf's reader gives objects; the rows a detector needs are
then taken from them, with a dictionary from labels to series: what is to be had without a reader
of one's own. CPU time of the reading thread; rounds are interleaved, the median counts. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from bench.path_sender import PER_REQUEST, block
from services.detector.gateway.remote_write import Message, Receiver

_NOW = 1_700_000_000_000
_FIELDS = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "Label": [("name", 1, _FIELDS.TYPE_STRING, ""), ("value", 2, _FIELDS.TYPE_STRING, "")],
    "Sample": [("value", 1, _FIELDS.TYPE_DOUBLE, ""), ("timestamp", 2, _FIELDS.TYPE_INT64, "")],
    "TimeSeries": [
        ("labels", 1, _FIELDS.TYPE_MESSAGE, "Label"),
        ("samples", 2, _FIELDS.TYPE_MESSAGE, "Sample"),
    ],
    "WriteRequest": [("timeseries", 1, _FIELDS.TYPE_MESSAGE, "TimeSeries")],
}


def write_request() -> Any:
    """The message class, made from its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            many = _FIELDS.LABEL_REPEATED if of else _FIELDS.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=many)
            if of:
                added.type_name = f".bench.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.WriteRequest"))


class _Protobuf:
    """A reader of the same requests by protobuf, to compare with."""

    def __init__(self) -> None:
        self._message = write_request()
        self._known: dict[tuple[tuple[str, str], ...], int] = {}

    def read(self, data: NDArray[np.uint8]) -> None:
        rows = []
        for series in self._message.FromString(data.tobytes()).timeseries:
            labels = tuple((label.name, label.value) for label in series.labels)
            number = self._known.setdefault(labels, len(self._known))
            rows += [(number, sample.timestamp, sample.value) for sample in series.samples]
        np.array([row[0] for row in rows])
        np.array([row[1] for row in rows])
        np.array([row[2] for row in rows])


class _Gateway:
    """The gateway's reader, with all its checks."""

    def __init__(self) -> None:
        self._receiver = Receiver("", lambda _host: 0)

    def read(self, data: NDArray[np.uint8]) -> None:
        received = self._receiver.read(data, Message.V1, _NOW)
        assert not received.faults
        self._receiver.batches()


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    starts = range(0, options.series, PER_REQUEST)
    requests = [block(start, PER_REQUEST, False).data for start in starts]
    samples = len(requests) * PER_REQUEST
    makers: dict[str, Callable[[], Any]] = {"gateway": _Gateway, "protobuf": _Protobuf}
    _Gateway().read(requests[0])
    first: dict[str, list[float]] = {name: [] for name in makers}
    known: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(options.rounds):
        for name, make in makers.items():
            reader = make()
            for times in (first[name], known[name]):
                begin = time.thread_time()
                for data in requests:
                    reader.read(data)
                times.append(time.thread_time() - begin)
    rates = {
        phase: {name: round(samples / statistics.median(times[name])) for name in makers}
        for phase, times in (("known_series", known), ("new_series", first))
    }
    ratios = {
        f"ratio_{phase}": round(found["gateway"] / found["protobuf"], 2)
        for phase, found in rates.items()
    }
    summary = {
        "bench": "remote_write",
        "samples_per_cpu_s": rates,
        **ratios,
        "bytes_per_sample": round(sum(map(len, requests)) / samples),
        "series": options.series,
        "python": platform.python_version(),
        "protobuf": importlib.metadata.version("protobuf"),
        "numba": importlib.metadata.version("numba"),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
