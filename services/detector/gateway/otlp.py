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
from itertools import chain
from typing import Any

import numpy as np
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from services.detector.gateway.otlp_names import Labels, labels_of, metric_name, resource_labels
from services.detector.gateway.otlp_size import check_json, check_protobuf
from services.detector.gateway.otlp_totals import Totals
from services.detector.gateway.request_size import MAX_SAMPLES
from services.detector.gateway.write_request import series
from shared.samples import InvalidBatch


class Otlp(StrEnum):
    """The encoding of a request, from its Content-Type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_NO_VALUE = 1
"""Flag of a point: the series has ended."""
_MAX_ATTRIBUTES = 1000
"""A point or a resource may have so many; a series keeps a few dozen labels anyway."""
_MAX_FAULTS = 20
_METRICS = re.compile(rb'"resource(Metrics|_metrics)"')
_OLD_AND_NEW_NAME = (b'"instrumentationLibraryMetrics"', b'"scopeMetrics"')
"""The field's name before OTLP 0.16, and since; it holds the same."""
_FIRST_NS = 10**17
"""Times before 1973 are times in another unit, or none."""


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
    if encoded is Otlp.JSON:
        if data.lstrip()[:1] != b"{":
            raise InvalidBatch(["not a metrics request: it is no JSON object"])
        if _METRICS.search(data) is None and data.strip() != b"{}":
            # All fields would be ignored, although the sender is told that they are stored.
            raise InvalidBatch(["not a metrics request: it has no resourceMetrics"])
        data = data.replace(*_OLD_AND_NEW_NAME)
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
        common = resource_labels(attributes) if len(attributes) <= _MAX_ATTRIBUTES else None
        for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
            if common is None:
                translation.fault(
                    metric, f"its resource has more than {_MAX_ATTRIBUTES} attributes"
                )
                continue
            for labels, time_ms, value, is_delta in _metric(metric, common, translation):
                looked_at += 1
                if looked_at > MAX_SAMPLES:
                    raise InvalidBatch([f"more than {MAX_SAMPLES} samples in one request"])
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
    name = metric_name(metric.name, metric.unit, kind, bool(getattr(data, "is_monotonic", False)))
    for point in data.data_points:
        if problem := _problem(point):
            translation.fault(metric, problem)
            continue
        labels = labels_of(point.attributes, common)
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
    if isinstance(point, NumberDataPoint):
        without = point.WhichOneof("value") is None and not point.flags & _NO_VALUE
        return "a point has no value" if without else ""
    if isinstance(point, HistogramDataPoint) and point.bucket_counts:
        fits = len(point.bucket_counts) == len(point.explicit_bounds) + 1
        return "" if fits else "a point's buckets do not fit its bounds"
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
    """A bound of a histogram with all its digits, so that two bounds are never one series."""
    return np.format_float_positional(bound, trim="-")


def _number(point: NumberDataPoint) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
