"""OTLP in protobuf and JSON, through the translation, the reader and the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToJson
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from services.detector.gateway.otlp import Otlp, parsed, translated
from services.detector.gateway.otlp_totals import Totals
from services.detector.gateway.remote_write import Message, Receiver
from shared.samples import InvalidBatch, encode
from tests.hostile.fuzz.door import Door, ViolationError, drawn
from tests.hostile.fuzz.mutation import Parts
from tests.hostile.fuzz.samples import NOW_MS, Judge

_MAX_BYTES, _LATEST_MS = 1 << 20, NOW_MS + 60_000
_names = st.one_of(st.text(max_size=12), st.sampled_from(["cpu.idle", "host", "le", "__name__"]))
_numbers = st.one_of(st.floats(), st.sampled_from([0.0, -1.0, 1e300, 5e-324]))
_attributes = st.dictionaries(
    st.one_of(_names, st.sampled_from(["host.name", "service.name", "k8s.pod.name"])),
    st.one_of(st.text(max_size=8), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()),
    max_size=4,
)
_points = st.tuples(
    st.sampled_from(["gauge", "sum", "histogram", "summary", "exponential_histogram"]),
    _attributes,
    _numbers,
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, NOW_MS * 10**6, 2**63]),
)
_metrics = st.lists(st.tuples(_names, st.sampled_from(["", "s", "1", "By"]), _points), max_size=3)


def _add_attributes(fields: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
        setattr(fields.add(key=name).value, kinds[type(value)], value)


def _add_point(metric: Any, point: tuple[str, dict[str, Any], float, int, int]) -> None:
    kind, attributes, number, temporality, time_ns = point
    data = getattr(metric, kind)
    if hasattr(data, "aggregation_temporality"):
        data.aggregation_temporality = temporality
    made = data.data_points.add(time_unix_nano=time_ns)
    _add_attributes(made.attributes, attributes)
    if kind in ("gauge", "sum"):
        made.as_double = number
        return
    made.count, made.sum = 3, number
    if kind == "histogram":
        made.explicit_bounds.extend([number, 2.0])
        made.bucket_counts.extend([1, 1, 1])
    elif kind == "summary":
        made.quantile_values.add(quantile=0.5, value=number)


def _request(resource: dict[str, Any], metrics: list[Any]) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    known = request.resource_metrics.add()
    _add_attributes(known.resource.attributes, resource)
    scope = known.scope_metrics.add()
    for name, unit, point in metrics:
        _add_point(scope.metrics.add(name=name, unit=unit), point)
    return request


def requests(seed: int, count: int) -> list[Parts]:
    """Encoding and body of requests with any names, attributes and values."""
    found: list[Parts] = []
    for number, each in enumerate(drawn(st.tuples(_attributes, _metrics), seed, count)):
        request = _request(*each)
        body = MessageToJson(request).encode() if number % 2 else request.SerializeToString()
        found.append(((Otlp.JSON if number % 2 else Otlp.PROTOBUF).encode(), body))
    return found


class _Door:
    def __init__(self) -> None:
        self._receiver = Receiver("", lambda _host: 0)
        self._totals, self._judge = Totals(1_000), Judge()

    def enter(self, parts: Parts) -> str:
        try:
            request = parsed(parts[1], Otlp(parts[0].decode()))
            translation = translated(request, self._totals, _MAX_BYTES, _LATEST_MS)
            data = np.frombuffer(translation.body, dtype=np.uint8)
            received = self._receiver.read(data, Message.V1, _LATEST_MS, sender="fuzz")
        except InvalidBatch:
            return "refused"
        finally:
            batches = list(self._receiver.batches())
        if received.taken + received.ignored > translation.samples:
            raise ViolationError("more was stored than was translated")
        for _, batch in batches:
            if np.isinf(batch.value).any():
                raise ViolationError("an infinite value was taken")
            self._judge.take(encode(batch))
        return "answered in part" if received.faults or translation.faults else "answered"


DOORS = {"otlp": lambda: Door("otlp", requests, _Door().enter, frozenset({0}))}
