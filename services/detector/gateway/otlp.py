"""OpenTelemetry's metrics (OTLP/HTTP, protobuf or JSON) as a remote write request.

So they meet the same bounds, names and machines as what Prometheus sends. Names and labels are what
Prometheus makes of them; of the resource only what tells machines and instances apart is kept.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from services.detector.gateway.otlp_totals import Totals
from services.detector.gateway.write_request import series
from shared.samples import InvalidBatch


class Otlp(StrEnum):
    """How a request is encoded: its Content-Type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_NO_VALUE = 1
"""Flag of a point: the series has ended."""
_MAX_SAMPLES = 50_000
_FIRST_NS = 10**17
"""Times before 1973 are times in another unit, or none."""
_GZIP = 16 + zlib.MAX_WBITS
_UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "bit": "bits",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_KEPT = re.compile(r"k8s\.|container\.name$|deployment\.environment")
"""Attributes of the resource that become labels, beside those of the service."""
Labels = dict[str, str]
Sample = tuple[Labels, int, float]


@dataclass
class Translation:
    """A remote write request (1.0), and what of the metrics is not in it."""

    body: bytearray
    samples: int = 0
    faults: list[str] = field(default_factory=list)


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """The body without its compression, at most ``most_bytes``; raises InvalidBatch beyond."""
    if encoding in ("", "identity"):
        return body
    reader = zlib.decompressobj(_GZIP)
    try:
        data = reader.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise InvalidBatch([f"not gzip: {error}"]) from error
    if len(data) > most_bytes:
        raise InvalidBatch([f"more than {most_bytes} bytes when decompressed"])
    if not reader.eof:
        raise InvalidBatch(["not gzip: it is cut off"])
    return data


def parsed(data: bytes, encoded: Otlp) -> ExportMetricsServiceRequest:
    """The message; raises InvalidBatch when the bytes are none."""
    message = ExportMetricsServiceRequest()
    if encoded is Otlp.JSON and data.lstrip()[:1] != b"{":
        raise InvalidBatch(["not a metrics request: it is no JSON object"])
    try:
        if encoded is Otlp.JSON:
            Parse(data, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(data)
    except (ParseError, DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidBatch([f"not a metrics request: {str(error)[:300]}"]) from error
    return message


def translated(
    request: ExportMetricsServiceRequest, totals: Totals, most_bytes: int
) -> Translation:
    """What the gateway reads; deltas are added up in ``totals``.

    Raises InvalidBatch when it is more than one request may hold.
    """
    translation = Translation(bytearray())
    for resource in request.resource_metrics:
        common = _resource_labels(resource.resource.attributes)
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for sample in _metric(metric, common, totals, translation):
                    translation.samples += 1
                    translation.body += series(*sample)
                    if translation.samples > _MAX_SAMPLES:
                        raise InvalidBatch([f"more than {_MAX_SAMPLES} samples in one request"])
                    if len(translation.body) > most_bytes:
                        # A resource's attributes are said once, and of each sample here.
                        raise InvalidBatch([f"its labels take more than {most_bytes} bytes"])
    return translation


def _metric(
    metric: Metric, common: Labels, totals: Totals, translation: Translation
) -> Iterator[Sample]:
    kind = metric.WhichOneof("data")
    if kind is None or not metric.name:
        translation.faults.append(f"metric {metric.name[:200] or '?'}: it has no name or no data")
        return
    data: Any = getattr(metric, kind)
    temporality = getattr(data, "aggregation_temporality", _CUMULATIVE)
    if temporality not in (_DELTA, _CUMULATIVE):
        translation.faults.append(f"metric {metric.name[:200]}: it is neither cumulative nor delta")
        return
    name = _name(metric.name, metric.unit, kind, bool(getattr(data, "is_monotonic", False)))
    for point in data.data_points:
        if point.time_unix_nano < _FIRST_NS:
            said = f"{point.time_unix_nano} is no Unix time in ns" if point.time_unix_nano else ""
            translation.faults.append(
                f"metric {metric.name[:200]}: {said or 'a point has no time'}"
            )
            continue
        time_ms = point.time_unix_nano // 1_000_000
        labels = common | _labels(point.attributes)
        for own, value in _values(kind, name, point):
            full = labels | own
            if value is None:
                yield full, time_ms, math.nan
            elif temporality != _DELTA:
                yield full, time_ms, value
            elif (total := totals.add(tuple(sorted(full.items())), time_ms, value)) is not None:
                yield full, time_ms, total


def _values(kind: str, name: str, point: Any) -> Iterator[tuple[Labels, float | None]]:
    """The series of a point with their values; None says that the series has ended."""
    ended = bool(point.flags & _NO_VALUE)
    if kind in ("gauge", "sum"):
        yield {"__name__": name}, None if ended else _number(point)
        return
    if kind == "summary":
        for each in point.quantile_values:
            quantile = {"__name__": name, "quantile": f"{each.quantile:g}"}
            yield quantile, None if ended else each.value
    elif kind == "histogram":
        yield from _buckets(name, point, ended=ended)
    yield {"__name__": f"{name}_count"}, None if ended else float(point.count)
    if kind == "summary" or point.HasField("sum"):
        yield {"__name__": f"{name}_sum"}, None if ended else point.sum


def _buckets(
    name: str, point: HistogramDataPoint, *, ended: bool
) -> Iterator[tuple[Labels, float | None]]:
    below = 0
    bounds = [*(f"{bound:g}" for bound in point.explicit_bounds), "+Inf"]
    for bound, count in zip(bounds, point.bucket_counts, strict=False):
        below += count
        yield {"__name__": f"{name}_bucket", "le": bound}, None if ended else float(below)


def _number(point: NumberDataPoint) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)


def _name(name: str, unit: str, kind: str, monotonic: bool) -> str:
    """What Prometheus calls a metric: unit and ``_total`` at its end."""
    base = _sanitized(name)
    suffix = _UNITS.get(unit, "")
    if unit == "1" and kind == "gauge":
        suffix = "ratio"
    if suffix and suffix not in base.split("_"):
        base = f"{base}_{suffix}"
    if kind == "sum" and monotonic and not base.endswith("_total"):
        base = f"{base}_total"
    return base


def _sanitized(text: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_:]+", "_", text)
    return f"_{found}" if found[:1].isdigit() else found


def _resource_labels(attributes: Any) -> Labels:
    """``job`` and ``instance`` as Prometheus makes them, and what names machines."""
    values = {each.key: _text(each.value) for each in attributes}
    labels = {_sanitized(key): value for key, value in values.items() if _KEPT.match(key)}
    service, space = values.get("service.name", ""), values.get("service.namespace", "")
    if service:
        labels["job"] = f"{space}/{service}" if space else service
    host, instance = values.get("host.name", ""), values.get("service.instance.id", "")
    if host:
        labels["host"] = host
    if instance:
        # Where the machine is known, it is not the instance that names it.
        labels["service_instance_id" if host else "instance"] = instance
    return labels


def _labels(attributes: Any) -> Labels:
    """The attributes of a point; those that become one label are joined."""
    found: Labels = {}
    for each in sorted(attributes, key=_key):
        name = _sanitized(each.key) or "_"
        name = f"key{name}" if name.startswith("__") else name
        text = _text(each.value)
        found[name] = f"{found[name]};{text}" if name in found else text
    return found


def _key(pair: KeyValue) -> str:
    return pair.key


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind in ("array_value", "kvlist_value", "bytes_value"):
        return orjson.dumps(MessageToDict(value)).decode()
    return str(getattr(value, kind))
