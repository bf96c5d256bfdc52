"""OpenTelemetry's metrics (OTLP/HTTP, protobuf or JSON) as a remote write request.

So they meet the same bounds, names and machines as what Prometheus sends. Names and labels are what
Prometheus makes of them; of the resource only what tells machines and instances apart is kept.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np
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

from services.detector.gateway.otlp_size import check_json, check_protobuf
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
_MAX_ATTRIBUTES = 1000
"""Of a point or a resource; a series with more labels than a few dozen is cut anyway."""
_MAX_ATTRIBUTE_BYTES = 65_536
_MAX_FAULTS = 20
_FIRST_NS = 10**17
"""Times before 1973 are times in another unit, or none."""
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
_OF_RESOURCE = re.compile(
    r"k8s\.|service\.(name|namespace|instance\.id)$|host\.name$|container\.name$"
    r"|deployment\.environment"
)
_KEPT = re.compile(r"k8s\.|container\.name$|deployment\.environment")
"""Attributes of the resource that become labels, beside those of the service."""
Labels = dict[str, str]
Sample = tuple[Labels, int, float | None]
"""Labels, time and value; None says that the series has ended."""


@dataclass
class Translation:
    """A remote write request (1.0), and what of the metrics is not in it."""

    body: bytearray
    samples: int = 0
    faults: list[str] = field(default_factory=list)
    """The first of them."""
    refused: int = 0
    """Points and metrics with a fault."""

    def fault(self, metric: Metric, words: str) -> None:
        """Note what is wrong with a metric or with one of its points."""
        self.refused += 1
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(f"metric {metric.name[:200] or '?'}: {words}")


def unpacked(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """The body without its compression, at most ``most_bytes``; raises InvalidBatch beyond."""
    if encoding in ("", "identity"):
        return body
    try:
        # In one part or, from whoever compresses in pieces, in several.
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as reader:
            data = reader.read(most_bytes + 1)
    except EOFError as error:
        raise InvalidBatch(["not gzip: it is cut off"]) from error
    except (OSError, zlib.error) as error:
        raise InvalidBatch([f"not gzip: {error}"]) from error
    if len(data) > most_bytes:
        raise InvalidBatch([f"more than {most_bytes} bytes when decompressed"])
    return data


def parsed(data: bytes, encoded: Otlp) -> ExportMetricsServiceRequest:
    """The message; raises InvalidBatch when the bytes are none."""
    message = ExportMetricsServiceRequest()
    if encoded is Otlp.JSON and data.lstrip()[:1] != b"{":
        raise InvalidBatch(["not a metrics request: it is no JSON object"])
    (check_json if encoded is Otlp.JSON else check_protobuf)(data)
    try:
        if encoded is Otlp.JSON:
            Parse(data, message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(data)
    except (ParseError, DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidBatch([f"not a metrics request: {str(error)[:300]}"]) from error
    return message


def translated(
    request: ExportMetricsServiceRequest, totals: Totals, most_bytes: int, latest_ms: int
) -> Translation:
    """The samples for the gateway; deltas up to ``latest_ms`` are added up in ``totals``.

    Raises InvalidBatch when it is more than one request may hold.
    """
    translation, looked_at = Translation(bytearray()), 0
    for resource in request.resource_metrics:
        attributes = resource.resource.attributes
        common = _resource_labels(attributes) if len(attributes) <= _MAX_ATTRIBUTES else None
        for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
            if common is None:
                translation.fault(
                    metric, f"its resource has more than {_MAX_ATTRIBUTES} attributes"
                )
                continue
            for labels, time_ms, value, is_delta in _metric(metric, common, translation):
                looked_at += 1
                if looked_at > _MAX_SAMPLES:
                    raise InvalidBatch([f"more than {_MAX_SAMPLES} samples in one request"])
                # A time in the future is refused later, and must not silence what comes in time.
                total = value
                if is_delta and value is not None and time_ms <= latest_ms:
                    total = totals.add(labels, time_ms, value)
                    if total is None:
                        continue
                translation.samples += 1
                translation.body += series(labels, time_ms, total)
                if len(translation.body) > most_bytes:
                    # A resource's attributes are said once, and of each sample here.
                    raise InvalidBatch([f"its labels take more than {most_bytes} bytes"])
    return translation


def _metric(
    metric: Metric, common: Labels, translation: Translation
) -> Iterator[tuple[Labels, int, float | None, bool]]:
    """The samples of a metric, and of each whether it is a delta."""
    kind = metric.WhichOneof("data")
    if kind is None or not metric.name:
        translation.fault(metric, "it has no name or no data")
        return
    data: Any = getattr(metric, kind)
    temporality = getattr(data, "aggregation_temporality", _CUMULATIVE)
    if temporality not in (_DELTA, _CUMULATIVE):
        translation.fault(metric, "it is neither cumulative nor delta")
        return
    name = _name(metric.name, metric.unit, kind, bool(getattr(data, "is_monotonic", False)))
    for point in data.data_points:
        if problem := _problem(point):
            translation.fault(metric, problem)
            continue
        labels = _labels(point.attributes, common)
        for own, value in _values(kind, name, point):
            time_ms = point.time_unix_nano // 1_000_000
            yield labels | own, time_ms, value, temporality == _DELTA


def _problem(point: Any) -> str:
    if not point.time_unix_nano:
        return "a point has no time"
    if point.time_unix_nano < _FIRST_NS:
        return f"{point.time_unix_nano} is no Unix time in ns"
    if len(point.attributes) > _MAX_ATTRIBUTES:
        return f"a point has more than {_MAX_ATTRIBUTES} attributes"
    return ""


def _values(kind: str, name: str, point: Any) -> Iterator[tuple[Labels, float | None]]:
    """The series of a point with their values; None says that the series has ended."""
    ended = bool(point.flags & _NO_VALUE)
    if kind in ("gauge", "sum"):
        yield {"__name__": name}, None if ended else _number(point)
        return
    if kind == "summary":
        for each in point.quantile_values:
            quantile = {"__name__": name, "quantile": _written(each.quantile)}
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
    bounds = chain(map(_written, point.explicit_bounds), ("+Inf",))
    for bound, count in zip(bounds, point.bucket_counts, strict=False):
        below += count
        yield {"__name__": f"{name}_bucket", "le": bound}, None if ended else float(below)


def _written(bound: float) -> str:
    """All digits of a bound, so that two are never one series."""
    return np.format_float_positional(bound, trim="-")


def _number(point: NumberDataPoint) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)


def _name(name: str, unit: str, kind: str, monotonic: bool) -> str:
    """Prometheus' name of a metric: unit and ``_total`` at its end."""
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
    # Letters of any script stay: two metrics with Chinese names are two.
    found = re.sub(r"[^\w:]+", "_", text)
    return f"_{found}" if found[:1].isdigit() else found


def _resource_labels(attributes: Any) -> Labels:
    """``job`` and ``instance`` as Prometheus makes them, and what names machines."""
    values = {each.key: _text(each.value) for each in attributes if _OF_RESOURCE.match(each.key)}
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


def _labels(attributes: Any, common: Labels) -> Labels:
    """The attributes of a point beside its resource's labels; those of one name are joined.

    What a point says of a ``host`` is not where it was measured, if its resource tells that: it
    becomes ``exported_host``, as Prometheus does with a target's own labels.
    """
    found: Labels = {}
    for each in sorted(attributes, key=_key):
        name = _sanitized(each.key) or "_"
        name = f"key{name}" if name.startswith("__") else name
        name = f"exported_{name}" if name in common else name
        text = _text(each.value)
        found[name] = f"{found[name]};{text}" if name in found else text
    return common | found


def _key(pair: KeyValue) -> str:
    return pair.key


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if value.ByteSize() > _MAX_ATTRIBUTE_BYTES:
        # Nobody reads it; it only tells series apart.
        return f"~{blake2b(value.SerializeToString(deterministic=True), digest_size=8).hexdigest()}"
    if kind in ("array_value", "kvlist_value", "bytes_value"):
        return orjson.dumps(MessageToDict(value)).decode()
    return str(getattr(value, kind))
