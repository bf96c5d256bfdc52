"""Tests of what the remote-write specifications (1.0, 2.0) ask of a receiver, over HTTP.

Both messages and both compressions go through the same cases. The streams behind are kept in
memory; ``tests/integration/test_detector_remote_write.py`` has the real broker and Prometheus.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import Ingest
from services.detector.settings import Settings
from shared.contracts.metrics import Sample
from shared.samples import labels_from, labels_text
from tests.gateways import Streams, serving
from tests.remote_write import (
    NAN,
    STALE_BITS,
    V1,
    V2,
    Series,
    compressed,
    field,
    number,
    request_1,
    request_2,
    sample,
)

NOW = 1_700_000_000_000
CPU = {"__name__": "cpu", "host": "h1", "mode": "idle"}
MEMORY = {"__name__": "memory", "host": "h2"}
WRITTEN = "x-prometheus-remote-write-samples-written"


class Rows(Streams):
    """Their samples, a row each."""

    def rows(self) -> list[tuple[str, str, str, int, float]]:
        return sorted(
            (b.hosts[h], b.items[i], b.labels[t], int(time_ms), float(value))
            for b in self.batches
            for h, i, t, time_ms, value in zip(
                b.host_code, b.item_code, b.label_code, b.time_ms, b.value, strict=True
            )
        )


class Sender:
    """A sender of one message and one compression."""

    def __init__(self, http: httpx.Client, streams: Rows, message: str, encoding: str) -> None:
        self.http, self.streams, self.message, self.encoding = http, streams, message, encoding
        self.second = message == V2
        self.request: Callable[..., bytes] = request_2 if self.second else request_1

    def post(self, raw: bytes, **headers: str | None) -> httpx.Response:
        sent: dict[str, str | None] = {
            "content-type": self.message,
            "content-encoding": self.encoding,
            "x-prometheus-remote-write-version": "2.0.0" if self.second else "0.1.0",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        given_ = {name: value for name, value in sent.items() if value is not None}
        body = compressed(raw, self.encoding)
        return self.http.post("/api/v1/write", content=body, headers=given_)

    def send(self, *series: Series) -> httpx.Response:
        return self.post(self.request(*series))


@contextmanager
def _serving(streams: Rows, **limits: object) -> Iterator[httpx.Client]:
    app = make_app(Settings.model_validate(limits), Ingest(streams, 4, lambda: NOW))
    with serving(app) as client:
        yield client


@pytest.fixture(
    scope="module",
    params=[(V1, "snappy"), (V1, "zstd"), (V2, "snappy"), (V2, "zstd")],
    ids=["v1-snappy", "v1-zstd", "v2-snappy", "v2-zstd"],
)
def running(request: pytest.FixtureRequest) -> Iterator[Sender]:
    streams = Rows()
    with _serving(streams, gateway_raw_bytes=1_000_000) as client:
        yield Sender(client, streams, *request.param)


@pytest.fixture
def sender(running: Sender) -> Sender:
    running.streams.batches.clear()
    running.streams.down = False
    return running


def test_samples_are_written_before_the_answer(sender: Sender) -> None:
    answer = sender.send((CPU, [(NOW, 1.0), (NOW + 1, 2.0)]), (MEMORY, [(NOW, -3.5)]))
    assert (answer.status_code, answer.content) == (204, b"")
    assert sender.streams.rows() == [
        ("h1", "cpu", '{"mode":"idle"}', NOW, 1.0),
        ("h1", "cpu", '{"mode":"idle"}', NOW + 1, 2.0),
        ("h2", "memory", "", NOW, -3.5),
    ]


def test_the_second_message_is_answered_with_what_was_written(sender: Sender) -> None:
    ignored = {"__name__": "go_threads", "host": "h1"}
    answer = sender.send((CPU, [(NOW, 1.0)]), (ignored, [(NOW, 1.0)]))
    headers = {name: answer.headers.get(name) for name in answer.headers if "written" in name}
    expected = {
        WRITTEN: "2",
        WRITTEN.replace("samples", "histograms"): "0",
        WRITTEN.replace("samples", "exemplars"): "0",
    }
    assert headers == (expected if sender.second else {})


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content_type": "application/json"}, "application/x-protobuf"),
        ({"content_type": f"{V1};proto=prometheus.Unknown"}, "io.prometheus.write.v2.Request"),
        ({"content_encoding": "gzip"}, "snappy or zstd"),
        ({"x_prometheus_remote_write_version": "9.0.0"}, "9.0.0"),
    ],
)
def test_what_is_not_understood_is_an_unsupported_media_type(
    sender: Sender, headers: dict[str, str], words: str
) -> None:
    answer = sender.post(sender.request((CPU, [(NOW, 1.0)])), **headers)
    assert answer.status_code == 415
    assert words in answer.text
    assert sender.streams.rows() == []


def test_the_message_is_the_one_that_the_content_type_names() -> None:
    for header in (f"{V1}; proto=prometheus.WriteRequest", f'{V1};proto="prometheus.WriteRequest"'):
        streams = Rows()
        with _serving(streams) as client:
            sent = Sender(client, streams, header, "snappy").send((CPU, [(NOW, 1.0)]))
        assert sent.status_code == 204
        assert len(streams.rows()) == 1


def test_a_sender_that_says_nothing_sends_the_first_message_with_snappy() -> None:
    streams = Rows()
    with _serving(streams) as client:
        body = compressed(request_1((CPU, [(NOW, 1.0)])))
        assert client.post("/api/v1/write", content=body).status_code == 204
    assert len(streams.rows()) == 1


@pytest.mark.parametrize("damage", [b"\xff", b"\x0a\x7f", b"\x2a\x03\x12", b"\x00\x00", b"\x0b"])
def test_a_damaged_message_is_a_bad_request_and_nothing_of_it_is_written(
    sender: Sender, damage: bytes
) -> None:
    answer = sender.post(sender.request((CPU, [(NOW, 1.0)])) + damage)
    assert answer.status_code == 400
    assert "damaged" in answer.text
    assert sender.streams.rows() == []


def test_a_body_that_is_not_compressed_is_a_bad_request(sender: Sender) -> None:
    headers = {"content-type": sender.message, "content-encoding": sender.encoding}
    for body in (b"\x05nonsense", b"plain text", random.Random(1).randbytes(200), b""):
        answer = sender.http.post("/api/v1/write", content=body, headers=headers)
        assert answer.status_code == 400, body


def test_never_more_is_unpacked_than_allowed(sender: Sender) -> None:
    answer = sender.post(b"\x00" * 2_000_000)
    assert answer.status_code == 400
    assert "more than 1000000" in answer.text


def test_an_empty_request_is_fine(sender: Sender) -> None:
    assert sender.post(sender.request()).status_code == 204


def test_samples_out_of_order_are_taken(sender: Sender) -> None:
    assert sender.send((CPU, [(NOW, 1.0), (NOW - 9, 2.0)])).status_code == 204
    assert sender.send((CPU, [(NOW - 5, 3.0)])).status_code == 204
    assert [row[3] for row in sender.streams.rows()] == [NOW - 9, NOW - 5, NOW]


def test_the_order_of_labels_does_not_matter(sender: Sender) -> None:
    backwards = list(reversed(CPU.items()))
    assert sender.send((CPU, [(NOW, 1.0)]), (backwards, [(NOW + 1, 2.0)])).status_code == 204
    assert len({row[:3] for row in sender.streams.rows()}) == 1


def test_a_label_without_a_value_is_no_label(sender: Sender) -> None:
    assert sender.send(({**MEMORY, "zone": ""}, [(NOW, 1.0)])).status_code == 204
    assert sender.streams.rows() == [("h2", "memory", "", NOW, 1.0)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([*CPU.items(), ("mode", "user")], "label 'mode' twice"),
        ([("", "x"), *CPU.items()], "label without a name"),
        ({"host": "h1"}, "name"),
        ({"__name__": "", "host": "h1"}, "name"),
        ({"__name__": "\n", "host": "h1"}, "name"),
        ({**CPU, "longest": "x" * 300_000}, "bytes"),
    ],
)
def test_a_series_with_wrong_labels_is_named_and_the_others_are_written(
    sender: Sender, labels: dict[str, str], words: str
) -> None:
    # The second time it is known: the answer must be the same.
    for turn in (0, 1):
        answer = sender.send((labels, [(NOW, 1.0)]), (MEMORY, [(NOW + turn, 2.0)]))
        assert answer.status_code == 400
        assert words in answer.text
        if sender.second:
            assert answer.headers[WRITTEN] == "1"
    assert [row[1] for row in sender.streams.rows()] == ["memory", "memory"]


@pytest.mark.parametrize(
    ("labels", "host", "item", "kept"),
    [
        ({"__name__": "temperature.°C", "host": "h1"}, "h1", "temperature.°C", {}),
        ({"__name__": "a b", "host": "h1"}, "h1", "a b", {}),
        ({**MEMORY, "http.request.method": "GET"}, "h2", "memory", {"http.request.method": "GET"}),
        ({**MEMORY, "0": "x"}, "h2", "memory", {"0": "x"}),
        ({**MEMORY, "q": "SELECT *\n\tFROM t"}, "h2", "memory", {"q": "SELECT *  FROM t"}),
        ({"__name__": "cpu", "job": "api"}, "unknown", "cpu", {"job": "api"}),
    ],
)
def test_a_series_is_kept_whatever_its_names_are(
    sender: Sender, labels: dict[str, str], host: str, item: str, kept: dict[str, str]
) -> None:
    assert sender.send((labels, [(NOW, 1.0)])).status_code == 204
    (row,) = sender.streams.rows()
    assert (row[0], row[1], labels_from(row[2])) == (host, item, kept)


def test_labels_too_long_or_too_many_are_cut_and_still_tell_series_apart(sender: Sender) -> None:
    many = {f"l{n:02}": "x" for n in range(40)}
    sent = [
        {**MEMORY, "long": "x" * 600},
        {**MEMORY, "long": "x" * 601},
        {**MEMORY, "longest": "x" * 40_000},
        {**MEMORY, **many},
        {**MEMORY, **many, "l39": "y"},
        {**MEMORY, **dict.fromkeys(many, "😀" * 500)},
    ]
    cut = REGISTRY.get_sample_value("barograph_series_cut_total") or 0
    assert sender.send(*((labels, [(NOW, 1.0)]) for labels in sent)).status_code == 204
    kept = [labels_from(row[2]) for row in sender.streams.rows()]
    assert len({labels_text(labels) for labels in kept}) == len(sent)
    assert REGISTRY.get_sample_value("barograph_series_cut_total") == cut + len(sent)
    for labels in kept:
        assert Sample(item="memory", time_ms=0, value=0.0, labels=labels).labels == labels
        assert len(labels_text(labels).encode()) < 9000


def test_labels_that_are_not_text_are_a_fault_of_their_series() -> None:
    bad = field(1, field(1, field(1, b"__name__") + field(2, b"\xff\xfe")) + sample(NOW, 1.0))
    streams = Rows()
    with _serving(streams) as client:
        sender = Sender(client, streams, V1, "snappy")
        answer = sender.post(bad + request_1((MEMORY, [(NOW, 2.0)])))
    assert answer.status_code == 400
    assert "UTF-8" in answer.text
    assert len(streams.rows()) == 1


def test_a_time_that_is_none_or_far_ahead_is_refused_alone(sender: Sender) -> None:
    answer = sender.send((CPU, [(-1, 1.0), (NOW, 2.0), (NOW + 3_600_000, 3.0)]))
    assert answer.status_code == 400
    assert "-1 is not a Unix time" in answer.text
    assert "3600 s in the future" in answer.text
    assert [row[4] for row in sender.streams.rows()] == [2.0]


def test_not_a_number_and_staleness_and_infinity_say_that_there_is_no_value(
    sender: Sender,
) -> None:
    values: list[float | int] = [NAN, STALE_BITS, math.inf, -math.inf, 1.0]
    samples = [(NOW + at, value) for at, value in enumerate(values)]
    assert sender.send((CPU, samples)).status_code == 204
    assert [math.isnan(row[4]) for row in sorted(sender.streams.rows(), key=lambda r: r[3])] == [
        True,
        True,
        True,
        True,
        False,
    ]


def test_native_histograms_are_refused_by_name_and_samples_are_written(sender: Sender) -> None:
    histogram = field(3 if sender.second else 4, b"\x08\x01")
    raw = sender.request((CPU, [(NOW, 1.0)]), more=histogram)
    answer = sender.post(raw)
    assert answer.status_code == 400
    assert "cpu of h1" in answer.text
    assert "native histograms are not supported" in answer.text
    assert len(sender.streams.rows()) == 1


def test_exemplars_metadata_and_unknown_fields_are_passed_over(sender: Sender) -> None:
    more = field(4 if sender.second else 3, b"\x11" + b"\x00" * 8) + field(5, b"\x08\x01")
    more += b"\x30\x07" + b"\x7d" + b"\x00" * 4 + b"\x79" + b"\x00" * 8
    raw = sender.request((CPU, [(NOW, 1.0)]), more=more) + field(9, b"later")
    assert sender.post(raw).status_code == 204
    assert len(sender.streams.rows()) == 1


def test_labels_may_come_after_the_samples_and_in_pieces() -> None:
    name = field(1, field(1, b"__name__") + field(2, b"memory"))
    host = field(1, field(1, b"host") + field(2, b"h2"))
    streams = Rows()
    with _serving(streams) as client:
        sender = Sender(client, streams, V1, "snappy")
        raw = field(1, name + sample(NOW, 1.0) + host) + field(
            1, sample(NOW + 1, 2.0) + name + host
        )
        assert sender.post(raw).status_code == 204
    assert {row[:3] for row in streams.rows()} == {("h2", "memory", "")}


def test_references_of_the_second_message_may_be_unpacked_but_must_lead_somewhere() -> None:
    streams = Rows()
    with _serving(streams) as client:
        sender = Sender(client, streams, V2, "snappy")
        assert sender.post(request_2((CPU, [(NOW, 1.0)]), packed=False)).status_code == 204
        good = request_2((MEMORY, [(NOW, 1.0)]))
        for references in (number(1) + number(99), number(1), number(2**63) + number(0)):
            answer = sender.post(good + field(5, field(1, references) + sample(NOW, 1.0)))
            assert answer.status_code == 400
            assert "lead to no symbol" in answer.text
            assert answer.headers[WRITTEN] == "1"
    assert [row[1] for row in streams.rows()] == ["cpu", "memory", "memory", "memory"]


def test_both_messages_mean_the_same_series() -> None:
    streams = Rows()
    with _serving(streams, gateway_series=1) as client:
        for message in (V1, V2):
            assert Sender(client, streams, message, "zstd").send((CPU, [(NOW, 1.0)])).is_success
    assert len({row[:3] for row in streams.rows()}) == 1


def test_a_machine_with_too_many_series_gets_no_new_ones() -> None:
    streams = Rows()
    many = [({**CPU, "n": str(n)}, [(NOW, 1.0)]) for n in range(60)]
    with _serving(streams, gateway_host_series=50) as client:
        answer = Sender(client, streams, V1, "snappy").send(*many, (MEMORY, [(NOW, 1.0)]))
    assert answer.status_code == 400
    assert "h1 has 50 series and gets no new ones (GATEWAY_HOST_SERIES)" in answer.text
    assert len(streams.rows()) == 51


def test_a_full_gateway_takes_known_series_and_refuses_new_ones() -> None:
    streams = Rows()
    with _serving(streams, gateway_series=2) as client:
        sender = Sender(client, streams, V1, "snappy")
        assert sender.send((CPU, [(NOW, 1.0)]), (MEMORY, [(NOW, 1.0)])).is_success
        answer = sender.send((CPU, [(NOW + 1, 1.0)]), ({**CPU, "n": "1"}, [(NOW, 1.0)]))
    assert answer.status_code == 400
    assert "knows 2 series and accepts no new ones (GATEWAY_SERIES)" in answer.text
    assert len(streams.rows()) == 3


def test_what_can_be_sent_again_says_when(sender: Sender) -> None:
    sender.streams.down = True
    answer = sender.send((CPU, [(NOW, 1.0)]))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    if sender.second:
        assert answer.headers[WRITTEN] == "0"
    sender.streams.down = False
    assert sender.send((CPU, [(NOW, 1.0)])).status_code == 204


_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_time = st.integers(0, 10**8 - 1) | st.integers(10**11, NOW)
"""Without those between, which are refused: they look like seconds."""
_series = st.tuples(
    st.dictionaries(st.sampled_from("abcdefg"), _text, max_size=5),
    st.lists(
        st.tuples(_time, st.floats(allow_nan=False, allow_infinity=False)),
        max_size=3,
    ),
)


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=st.lists(_series, max_size=8))
def test_what_is_sent_is_what_is_written(sender: Sender, found: list[Series]) -> None:
    sender.streams.batches.clear()
    sent = [
        ({"__name__": "x", "host": f"h{n}", **dict(labels)}, samples)
        for n, (labels, samples) in enumerate(found)
    ]
    assert sender.send(*sent).status_code == 204
    expected = [(labels["host"], t, v) for labels, samples in sent for t, v in samples]
    assert sorted((h, t, v) for h, _, _, t, v in sender.streams.rows()) == sorted(expected)
