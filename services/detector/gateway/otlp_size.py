"""Counts the messages in an OTLP request before any of them is created.

A message within another takes two bytes on the wire and some seventy in memory, so a request that
is small, and smaller still when it is compressed, could take gigabytes when it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from google.protobuf.descriptor import Descriptor
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from services.detector.gateway.wire import Bytes, Int, read_field
from shared.compiled import kernel
from shared.samples import InvalidBatch

MAX_MESSAGES = 1_000_000
"""One request may hold so many: 50,000 points with ten attributes, each of two messages."""
_MAX_JSON = 400_000
"""Objects and lists of one request; each takes several times as long as in protobuf."""
_MAX_VALUES = 3_000_000
_DEPTH = 100
"""Messages within each other that protobuf reads."""
_FIELDS = 16
"""No message of metrics has a field with this number or a higher one."""
_BYTES = 2


def check_protobuf(data: bytes) -> None:
    """Raise InvalidBatch for a request of more than ``MAX_MESSAGES``."""
    if _messages(np.frombuffer(data, dtype=np.uint8), _INSIDE, MAX_MESSAGES) > MAX_MESSAGES:
        raise InvalidBatch([f"more than {MAX_MESSAGES} messages in one request"])


def check_json(data: bytes) -> None:
    """The same for JSON, whose brackets and commas are counted, in texts too."""
    if data.count(b"{") + data.count(b"[") > _MAX_JSON:
        raise InvalidBatch([f"more than {_MAX_JSON} objects and lists in one request"])
    if data.count(b",") > _MAX_VALUES:
        raise InvalidBatch([f"more than {_MAX_VALUES} values in one request"])


def _reached(message: Descriptor, known: dict[str, Descriptor]) -> None:
    if message.full_name not in known:
        known[message.full_name] = message
        for field in message.fields:
            if field.message_type is not None:
                _reached(field.message_type, known)


def _table() -> NDArray[np.int8]:
    """(messages, fields) which message a field holds, the request's being 0; -1: none."""
    known: dict[str, Descriptor] = {}
    _reached(ExportMetricsServiceRequest.DESCRIPTOR, known)
    numbers = {name: number for number, name in enumerate(known)}
    table = np.full((len(known), _FIELDS), -1, dtype=np.int8)
    for name, message in known.items():
        for number, inside in _fields(message):
            table[numbers[name], number] = numbers[inside]
    return table


def _fields(message: Descriptor) -> Iterator[tuple[int, str]]:
    for field in message.fields:
        if field.message_type is not None:
            yield field.number, field.message_type.full_name


_INSIDE = _table()


@kernel
def _messages(data: Bytes, inside: NDArray[np.int8], most: Int) -> Int:
    """Messages in ``data`` as far as it can be read, or the first number above ``most``."""
    ends = np.empty(_DEPTH, dtype=np.int64)
    kinds = np.empty(_DEPTH, dtype=np.int64)
    ends[0], kinds[0] = len(data), 0
    at: Int = np.int64(0)
    depth: Int = np.int64(0)
    found: Int = np.int64(1)
    while depth >= 0 and found <= most:
        if at >= ends[depth]:
            depth -= 1
            continue
        number, wire, start, stop = read_field(data, at, ends[depth])
        if stop < 0:
            break
        at = stop
        if wire != _BYTES or number >= _FIELDS or inside[kinds[depth], number] < 0:
            continue
        found += 1
        if depth + 1 < _DEPTH:
            kinds[depth + 1] = inside[kinds[depth], number]
            depth += 1
            ends[depth], at = stop, start
    return found
