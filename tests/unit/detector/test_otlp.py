"""OpenTelemetry's metrics at the gateway: from a real exporter, and from strangers."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import Ingest
from services.detector.gateway.otlp_totals import Totals
from services.detector.settings import Settings
from tests.gateways import Streams, serving
from tests.remote_write import STALE_BITS

_NOW = 1_700_000_000_000
_FAR = 2**62 // 10**6
"""Whatever the clock of the exporter's machine says is in time."""


class Rows(Streams):
    """Their samples, a row each."""

    def rows(self) -> list[tuple[str, str, dict[str, str], float]]:
        return [
            (b.hosts[h], b.items[i], json.loads(b.labels[t] or "{}"), float(v))
            for b in self.batches
            for h, i, t, v in zip(b.host_code, b.item_code, b.label_code, b.value, strict=True)
        ]

    def values(self, item: str) -> list[float]:
        return [value for _, name, _, value in self.rows() if name == item]


@pytest.fixture
def streams() -> Rows:
    return Rows()


@contextmanager
def _serving(streams: Rows, now: int = _NOW, **settings: Any) -> Iterator[httpx.Client]:
    app: FastAPI = make_app(Settings(**settings), Ingest(streams, 4, lambda: now))
    with serving(app) as client:
        yield client


@pytest.fixture
def client(streams: Rows) -> Iterator[httpx.Client]:
    limits = {"gateway_body_bytes": 20_000, "gateway_raw_bytes": 60_000}
    with _serving(streams, gateway_token="", **limits) as client:
        yield client


def test_a_real_exporter_brings_every_kind_of_metric(streams: Rows) -> None:
    delta = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}
    resource = Resource.create(
        {
            "service.name": "shop",
            "service.namespace": "web",
            "service.instance.id": "shop-7",
            "host.name": "web1",
        }
    )
    with _serving(streams, _FAR, gateway_token="secret") as client:
        exporter = OTLPMetricExporter(
            f"{client.base_url}/v1/metrics",
            headers={"authorization": "Bearer secret"},
            compression=Compression.Gzip,
            preferred_temporality=delta,
        )
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        views = [View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())]
        provider = MeterProvider([reader], resource=resource, views=views)
        meter = provider.get_meter("test")
        requests, queue = meter.create_counter("http.requests"), meter.create_up_down_counter("q")
        duration = meter.create_histogram(
            "http.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0]
        )
        size = meter.create_histogram("size", unit="By")
        temperature = meter.create_gauge("temperature", unit="Cel")
        for _ in range(2):
            requests.add(5, {"route": "/a"})
            queue.add(3)
            duration.record(0.05)
            duration.record(2.0)
            size.record(100)
            temperature.set(21.5)
            assert provider.force_flush()
        provider.shutdown()
    assert streams.values("http_requests_total")[:2] == [5, 10]
    assert streams.values("q")[:2] == [3, 6]
    assert streams.values("http_duration_seconds_count")[:2] == [2, 4]
    assert streams.values("http_duration_seconds_sum")[:2] == [2.05, 4.1]
    assert streams.values("http_duration_seconds_bucket")[:3] == [1, 1, 2]
    assert streams.values("size_bytes_count")[:2] == [1, 2]
    assert streams.values("temperature_celsius")[:2] == [21.5, 21.5]
    host, _, labels, _ = next(r for r in streams.rows() if r[1] == "http_requests_total")
    own = {"job": "web/shop", "service_instance_id": "shop-7", "route": "/a"}
    assert (host, labels) == ("web1", own)


def _gauge(*points: dict[str, Any], name: str = "load", **resource: str) -> dict[str, Any]:
    attributes = [{"key": k, "value": {"stringValue": v}} for k, v in resource.items()]
    metric = {"name": name, "gauge": {"dataPoints": list(points)}}
    scope = {"scopeMetrics": [{"metrics": [metric]}]}
    return {"resourceMetrics": [{"resource": {"attributes": attributes}, **scope}]}


def _point(value: float = 1.5, at_ms: int = _NOW, **attributes: str) -> dict[str, Any]:
    pairs = [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()]
    return {"timeUnixNano": str(at_ms * 10**6), "asDouble": value, "attributes": pairs}


def _as_delta(body: dict[str, Any]) -> dict[str, Any]:
    metric = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    metric["sum"] = metric.pop("gauge") | {"aggregationTemporality": 1, "isMonotonic": True}
    return body


def _post(client: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    sent = {"content-type": "application/json"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/v1/metrics", content=data, headers=sent)


def test_json_is_read_as_well_and_what_is_bad_costs_itself_alone(
    client: httpx.Client, streams: Rows
) -> None:
    body = _gauge(_point(), _point(2.5, at_ms=0), _point(3.5, disk="a"), **{"host.name": "db1"})
    answer = _post(client, body)
    assert answer.status_code == 200
    told = answer.json()["partialSuccess"]
    assert told["rejectedDataPoints"] == "1"
    assert "a point has no time" in told["errorMessage"]
    assert streams.rows() == [("db1", "load", {}, 1.5), ("db1", "load", {"disk": "a"}, 3.5)]


def test_a_point_whose_time_is_in_another_unit_is_named(
    client: httpx.Client, streams: Rows
) -> None:
    for time in (_NOW // 1000, _NOW, _NOW * 1000):
        told = _post(client, _gauge(_point() | {"timeUnixNano": str(time)}, _point())).json()
        assert f"{time} is no Unix time in ns" in told["partialSuccess"]["errorMessage"]
    assert {row[3] for row in streams.rows()} == {1.5}


def test_a_delta_that_is_sent_again_counts_once_and_the_broker_is_asked_again(
    client: httpx.Client, streams: Rows
) -> None:
    body = _as_delta(_gauge(_point(5.0), **{"host.name": "db1"}))
    points = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]
    assert _post(client, body).status_code == 200
    assert _post(client, body).status_code == 200
    points["dataPoints"][0]["timeUnixNano"] = str((_NOW + 1000) * 10**6)
    streams.down = True
    answer = _post(client, body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    streams.down = False
    assert streams.values("load_total") == [5.0]


def test_a_delta_from_a_wrong_clock_does_not_silence_those_in_time(
    client: httpx.Client, streams: Rows
) -> None:
    ahead = _post(client, _as_delta(_gauge(_point(5.0, _NOW + 10**9))))
    assert "in the future" in ahead.json()["message"]
    assert _post(client, _as_delta(_gauge(_point(7.0)))).json() == {}
    assert streams.values("load_total") == [7.0]


def test_a_delta_beyond_all_numbers_does_not_spoil_the_total_for_ever(
    client: httpx.Client, streams: Rows
) -> None:
    for number, value in enumerate(("Infinity", "NaN", 3.0, 1e308, 1e308, 2.0)):
        _post(client, _as_delta(_gauge(_point(0, _NOW - 1000 + number) | {"asDouble": value})))
    assert [v for v in streams.values("load_total") if math.isfinite(v)] == [3, 1e308, 1e308, 1e308]


def test_bounds_of_a_histogram_keep_all_their_digits(client: httpx.Client, streams: Rows) -> None:
    body = _gauge(**{"host.name": "db1"})
    point = _point() | {
        "explicitBounds": [0.005, 10, 1000001, 1000002],
        "bucketCounts": ["1", "1", "1", "1", "1"],
        "count": "5",
    }
    metric = {"name": "d", "histogram": {"aggregationTemporality": 2, "dataPoints": [point]}}
    body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"] = [metric]
    assert _post(client, body).json() == {}
    bounds = {r[2]["le"] for r in streams.rows() if r[1] == "d_bucket"}
    assert bounds == {"0.005", "10", "1000001", "1000002", "+Inf"}


def test_what_a_point_says_of_a_host_is_not_where_it_was_measured(
    client: httpx.Client, streams: Rows
) -> None:
    resource = {"host.name": "web1", "service.name": "shop"}
    _post(client, _gauge(_point(host="evil.example", job="x"), **resource))
    [(host, _, labels, _)] = streams.rows()
    assert host == "web1"
    assert labels == {"job": "shop", "exported_host": "evil.example", "exported_job": "x"}


def test_metrics_named_in_other_scripts_are_not_one(client: httpx.Client, streams: Rows) -> None:
    for number, name in enumerate(("磁盘.使用", "内存", "Температура")):
        _post(client, _gauge(_point(number, größe="a"), name=name))
    assert [(r[1], r[3]) for r in streams.rows()] == [
        ("磁盘_使用", 0),
        ("内存", 1),
        ("Температура", 2),
    ]
    assert {*streams.rows()[0][2]} == {"größe"}


def test_a_gauge_that_is_no_number_has_not_ended(client: httpx.Client, streams: Rows) -> None:
    _post(client, _gauge(_point(0) | {"asDouble": "NaN"}, _point(0, _NOW + 1) | {"flags": 1}))
    ended = [bool(np.float64(row[3]).view(np.uint64) == STALE_BITS) for row in streams.rows()]
    assert ended == [False, True]


def test_a_body_compressed_in_several_parts_is_read_whole(
    client: httpx.Client, streams: Rows
) -> None:
    text = json.dumps(_gauge(_point())).encode()
    parts = gzip.compress(text[:50]) + gzip.compress(text[50:])
    assert _post(client, parts, content_encoding="gzip").json() == {}
    assert streams.values("load") == [1.5]


REFUSED: dict[str, tuple[int, Any, dict[str, str]]] = {
    "no content type that is known": (415, {}, {"content-type": "text/plain"}),
    "another compression": (415, {}, {"content-encoding": "br"}),
    "no gzip": (400, b"{}", {"content-encoding": "gzip"}),
    "cut gzip": (400, gzip.compress(b"{}" * 100)[:-10], {"content-encoding": "gzip"}),
    "a bomb": (400, gzip.compress(b" " * 2**24), {"content-encoding": "gzip"}),
    "a body above the bound": (413, b" " * 30_000, {}),
    "no JSON": (400, b"{", {}),
    "a list": (400, b"[]", {}),
    "deep JSON": (400, b'{"resourceMetrics":' + b"[" * 9000, {}),
    "no protobuf": (400, b"\xff" * 20, {"content-type": "application/x-protobuf"}),
    "a page in a browser": (403, {}, {"origin": "https://evil.example"}),
    "attributes said once that would be said often": (
        400,
        _gauge(*(_point(i=str(i)) for i in range(80)), **{"k8s.pod": "x" * 4000}),
        {},
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_request_is_refused_in_the_encoding_that_was_asked(
    client: httpx.Client, streams: Rows, what: str
) -> None:
    status, body, headers = REFUSED[what]
    answer = _post(client, body, **headers)
    assert answer.status_code == status
    assert answer.content
    assert streams.rows() == []


def test_a_sender_without_the_token_is_not_read(streams: Rows) -> None:
    with _serving(streams, gateway_token="secret") as client:
        assert _post(client, _gauge(_point())).status_code == 401
        good = _post(client, _gauge(_point()), authorization="Bearer secret")
        assert good.status_code == 200


def test_protobuf_is_answered_by_protobuf(client: httpx.Client) -> None:
    answer = _post(client, b"", content_type="application/x-protobuf")
    assert answer.headers["content-type"].startswith("application/x-protobuf")
    assert not ExportMetricsServiceResponse.FromString(answer.content).partial_success.error_message


ODD: dict[str, dict[str, Any]] = {
    "a metric without a name": {"name": "", "gauge": {"dataPoints": [_point()]}},
    "a metric without data": {"name": "a"},
    "a sum of no temporality": {"name": "a", "sum": {"dataPoints": [_point()]}},
}


@pytest.mark.parametrize("what", ODD)
def test_a_metric_that_says_too_little_is_named_and_its_neighbours_are_kept(
    client: httpx.Client, streams: Rows, what: str
) -> None:
    body = _gauge(_point(), **{"host.name": "db1"})
    body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].append(ODD[what])
    answer = _post(client, body)
    assert answer.status_code == 200
    assert "metric" in answer.json()["partialSuccess"]["errorMessage"]
    assert streams.values("load") == [1.5]


def test_totals_are_bounded_and_the_longest_silent_series_makes_room() -> None:
    totals = Totals(2)
    a, b, c = ({"n": each} for each in "abc")
    assert [totals.add(a, 1, 1.0), totals.add(b, 1, 1.0), totals.add(a, 2, 1.0)] == [1, 1, 2]
    assert totals.add(c, 1, 1.0) == 1
    assert len(totals) == 2
    assert [totals.add(a, 3, 1.0), totals.add(b, 2, 1.0)] == [3, 1]
    assert totals.add(a, 3, 1.0) is None


def test_a_body_that_holds_other_things_is_not_said_to_be_stored(client: httpx.Client) -> None:
    answer = _post(client, {"resourceSpans": [{"scopeSpans": []}]})
    assert answer.status_code == 400
    assert "resourceMetrics" in answer.text
    assert _post(client, {}).status_code == 200


def test_the_fields_of_earlier_versions_are_read(client: httpx.Client, streams: Rows) -> None:
    body = json.dumps(_gauge(_point(2.5), **{"host.name": "web1"}))
    earlier = body.replace('"scopeMetrics"', '"instrumentationLibraryMetrics"')
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/metrics", content=earlier, headers=headers)
    assert answer.status_code == 200
    assert streams.values("load") == [2.5]


def test_a_point_without_a_value_is_named_and_is_no_zero(
    client: httpx.Client, streams: Rows
) -> None:
    empty = {"timeUnixNano": str(_NOW * 1_000_000)}
    answer = _post(client, _gauge(empty, _point(2.5), **{"host.name": "web1"}))
    assert "a point has no value" in answer.text
    assert streams.values("load") == [2.5]


def test_buckets_that_do_not_fit_their_bounds_are_named(client: httpx.Client) -> None:
    point = {
        "timeUnixNano": str(_NOW * 1_000_000),
        "count": "3",
        "bucketCounts": ["1", "2"],
        "explicitBounds": [1, 2, 3],
    }
    body = _gauge(**{"host.name": "web1"})
    metric = body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]
    del metric["gauge"]
    metric["histogram"] = {"aggregationTemporality": 2, "dataPoints": [point]}
    assert "buckets do not fit" in _post(client, body).text
