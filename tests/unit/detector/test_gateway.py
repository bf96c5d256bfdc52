"""The gateway: what it takes, what it refuses, and with which words."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import cramjam
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.detector.gateway.amqp import SampleInlet
from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import InFlight, Ingest
from services.detector.gateway.remote_write import Message, Receiver
from services.detector.settings import Settings
from shared.contracts import MetricBatch
from shared.contracts.metrics import Sample
from shared.messaging import BrokerUnavailable, Delivery
from shared.messaging.bus import ARROW
from shared.samples import InvalidBatch, SampleBatch, decode, encode, from_rows
from shared.topology import partition_of
from tests.gateways import serving
from tests.recording_bus import RecordingBus
from tests.waiting import eventually

_NOW = 1_700_000_000_000
Labels = dict[str, str]


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, body: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(body)) + body


def _request(*series: tuple[Labels, list[tuple[int, float]]]) -> bytes:
    """A WriteRequest as Prometheus writes it, made by other code than what reads it."""
    out = b""
    for labels, samples in series:
        body = b"".join(
            _field(1, _field(1, k.encode()) + _field(2, v.encode())) for k, v in labels.items()
        )
        body += b"".join(
            _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _number(time_ms % 2**64))
            for time_ms, value in samples
        )
        out += _field(1, body)
    return out


class _Streams:
    """Keeps what is appended to the streams; ``trusted``: with what only the gateway may say."""

    def __init__(self, *, trusted: bool = False) -> None:
        self._trusted = trusted
        self.appended: list[tuple[int, SampleBatch]] = []
        self.down = False

    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        assert all(message_id for _, _, message_id in batches)
        if self.down:
            raise BrokerUnavailable("no confirm")
        read = partial(decode, trusted=self._trusted)
        self.appended += [(partition, read(body)) for partition, body, _ in batches]

    def rows(self) -> list[tuple[str, str, str, float]]:
        return [
            (b.hosts[h], b.items[i], b.labels[t], float(v))
            for _, b in self.appended
            for h, i, t, v in zip(b.host_code, b.item_code, b.label_code, b.value, strict=True)
        ]


@pytest.fixture
def streams() -> _Streams:
    return _Streams()


@pytest.fixture
def client(streams: _Streams) -> Iterator[httpx.Client]:
    limits = Settings(gateway_body_bytes=2000, gateway_raw_bytes=5000)
    with serving(make_app(limits, Ingest(streams, 4, lambda: _NOW))) as client:
        yield client


def _post(client: httpx.Client, raw: bytes, **headers: str) -> httpx.Response:
    sent = {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "x-prometheus-remote-write-version": "0.1.0",
    } | {key.replace("_", "-"): value for key, value in headers.items()}
    body = bytes(cramjam.snappy.compress_raw(raw))
    return client.post("/api/v1/write", content=body, headers=sent)


_LOAD = {"__name__": "node_load1", "instance": "web1:9100", "job": "node"}


def test_samples_are_in_the_streams_when_the_sender_hears_yes(
    client: httpx.Client, streams: _Streams
) -> None:
    other = {"__name__": "app_queue", "instance": "web1:8080", "job": "app", "q": "é"}
    answer = _post(client, _request((_LOAD, [(_NOW, 1.5)]), (other, [(_NOW, 7.0)])))
    assert (answer.status_code, answer.content) == (204, b"")
    labels = '{"instance":"web1:8080","job":"app","q":"é"}'
    assert streams.rows() == [("web1", "node_load1", "", 1.5), ("web1", "app_queue", labels, 7.0)]
    assert [partition for partition, _ in streams.appended] == [partition_of("web1", 4)]


def test_a_machine_always_has_the_same_partition() -> None:
    assert [partition_of(f"host{i}", 4) for i in range(6)] == [3, 1, 3, 1, 2, 0]


def test_series_the_platform_does_not_want_are_taken_and_dropped(
    client: httpx.Client, streams: _Streams
) -> None:
    ignored = {"__name__": "go_goroutines", "instance": "web1:9100"}
    assert _post(client, _request((ignored, [(_NOW, 1.0)]))).status_code == 204
    assert streams.appended == []


def test_good_samples_are_kept_and_every_bad_series_is_named(
    client: httpx.Client, streams: _Streams
) -> None:
    nameless = {"instance": "web1"}
    twice = {"__name__": "ok", "instance": "w", "": "1"}
    answer = _post(
        client,
        _request(
            (_LOAD, [(_NOW, 1.0), (-5, 2.0)]),
            (nameless, [(_NOW, 1.0)]),
            (twice, [(_NOW, 1.0)]),
        ),
    )
    assert answer.status_code == 400
    for part in ("-5 is not a Unix time", "it has no name", "a label without a name"):
        assert part in answer.text
    assert streams.rows() == [("web1", "node_load1", "", 1.0)]


def test_samples_from_the_future_are_refused(client: httpx.Client, streams: _Streams) -> None:
    answer = _post(client, _request((_LOAD, [(_NOW + 90_000, 1.0)])))
    assert answer.status_code == 400
    assert "node_load1 of web1: 90 s in the future: look at its clock" in answer.text
    assert streams.appended == []


def test_a_staleness_marker_has_no_value(client: httpx.Client, streams: _Streams) -> None:
    stale = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
    assert _post(client, _request((_LOAD, [(_NOW, stale)]))).status_code == 204
    (row,) = streams.rows()
    assert row[3] != row[3]


def test_who_brings_a_machine_is_told_with_what_is_sent_again_after_an_outage() -> None:
    # Or each machine would be reported by itself when its Prometheus stops.
    streams = _Streams(trusted=True)
    with serving(make_app(Settings(), Ingest(streams, 4, lambda: _NOW))) as client:
        body = _request(({"__name__": "a", "host": "db7"}, [(_NOW, 1.0)]))
        streams.down = True
        assert _post(client, body).status_code == 503
        streams.down = False
        assert _post(client, body).status_code == 204
        assert _post(client, body).status_code == 204
    told = [batch.brought for _, batch in streams.appended if len(batch.time_ms)]
    assert [[machine for machine, _ in each] for each in told] == [["db7"], []]


def test_the_sender_is_told_to_come_again_when_the_broker_does_not_confirm(
    client: httpx.Client, streams: _Streams
) -> None:
    streams.down = True
    answer = _post(client, _request((_LOAD, [(_NOW, 1.0)])))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"


def test_while_nothing_can_be_published_no_request_is_held(streams: _Streams) -> None:
    reasons = ["low on disk"]
    app = make_app(Settings(), Ingest(streams, 4, lambda: _NOW), lambda: "".join(reasons))
    with serving(app) as client:
        refused = _post(client, _request((_LOAD, [(_NOW, 1.0)])))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert "low on disk" in refused.text
        assert streams.appended == []
        reasons.clear()
        assert _post(client, _request((_LOAD, [(_NOW, 1.0)]))).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"content_type": "application/json"}, 415, "application/x-protobuf"),
        ({"content_type": "application/x-protobuf;proto=prometheus.Else"}, 415, "v2.Request"),
        ({"content_encoding": "gzip"}, 415, "snappy"),
        ({"x_prometheus_remote_write_version": "2.0.0"}, 415, "0.1.x"),
    ],
)
def test_other_protocols_are_refused(
    client: httpx.Client, headers: Labels, status: int, words: str
) -> None:
    answer = _post(client, _request((_LOAD, [(_NOW, 1.0)])), **headers)
    assert answer.status_code == status
    assert words in answer.text


def test_large_bodies_are_refused_before_and_after_unpacking(client: httpx.Client) -> None:
    noise = random.Random(1).randbytes(4000)
    assert _post(client, noise).status_code == 413
    assert _post(client, b"\x00" * 6000).text == "6000 bytes when decompressed, more than 5000\n"


def test_more_requests_than_places_are_told_to_come_again(streams: _Streams) -> None:
    places = InFlight(1)
    assert places.enter()
    assert not places.enter()
    places.leave()
    assert places.enter()


def test_under_back_pressure_the_answer_is_429(streams: _Streams) -> None:
    narrow = Settings(gateway_in_flight=1)
    app_holder: list[httpx.Client] = []
    answers: list[httpx.Response] = []

    class _Slow(_Streams):
        def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
            # While this request waits for its confirm, another one comes.
            answers.append(_post(app_holder[0], _request((_LOAD, [(_NOW, 1.0)]))))

    app = make_app(narrow, Ingest(_Slow(), 4, lambda: _NOW))
    with serving(app) as client, httpx.Client(base_url=client.base_url, timeout=60) as another:
        app_holder.append(another)
        assert _post(client, _request((_LOAD, [(_NOW, 1.0)]))).status_code == 204
    assert [answer.status_code for answer in answers] == [429]
    assert answers[0].headers["retry-after"] == "2"


def test_a_token_is_asked_for_where_one_is_set(streams: _Streams) -> None:
    guarded = Settings.model_validate({"gateway_token": "secret"})
    with serving(make_app(guarded, Ingest(streams, 4, lambda: _NOW))) as client:
        body = _request((_LOAD, [(_NOW, 1.0)]))
        assert _post(client, body).status_code == 401
        assert _post(client, body, authorization="Bearer wrong").status_code == 401
        assert _post(client, body, authorization="Bearer secret").status_code == 204


def _receiver() -> Receiver:
    return Receiver("", lambda host: partition_of(host, 4))


@settings(deadline=None)
@given(body=st.binary(max_size=300), message=st.sampled_from(list(Message)))
def test_random_requests_are_read_or_refused(body: bytes, message: Message) -> None:
    try:
        received = _receiver().read(np.frombuffer(body, np.uint8), message, _NOW)
    except InvalidBatch as error:
        assert error.faults  # noqa: PT017 - being read is right as well
    else:
        assert received.taken <= len(body)


_GOOD = _request((_LOAD, [(_NOW, 1.0)]), ({"__name__": "x", "instance": "b"}, [(_NOW, 2.0)]))


@settings(deadline=None)
@given(at=st.integers(0, len(_GOOD) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_requests_are_read_or_refused(at: int, byte: int, cut: bool) -> None:
    body = _GOOD[:at] if cut else _GOOD[:at] + bytes([byte]) + _GOOD[at + 1 :]
    try:
        _receiver().read(np.frombuffer(body, np.uint8), Message.V1, _NOW)
    except InvalidBatch as error:
        assert error.faults  # noqa: PT017 - being read is right as well


def _delivery(body: bytes, content_type: str = "application/json") -> Delivery:
    return Delivery("detector.samples", 1, "metrics", "samples.h1", {}, "id1", content_type, body)


def _inlet(streams: _Streams) -> tuple[SampleInlet, RecordingBus]:
    bus = RecordingBus()
    return SampleInlet(bus, Ingest(streams, 4, lambda: _NOW), lambda: datetime.now(UTC)), bus


def test_json_and_arrow_messages_reach_the_streams_together(streams: _Streams) -> None:
    inlet, bus = _inlet(streams)
    message = MetricBatch(host="h1", samples=(Sample(item="a", time_ms=_NOW, value=1.0),))
    arrow = encode(from_rows([("h1", "b", "", _NOW, 2.0)]))
    inlet.handle([_delivery(message.model_dump_json().encode()), _delivery(arrow, ARROW)])
    assert streams.rows() == [("h1", "a", "", 1.0), ("h1", "b", "", 2.0)]
    assert len(streams.appended) == 1
    assert bus.published == []


def test_an_agents_age_reaches_its_machines_stream_and_nobody_elses() -> None:
    streams = _Streams(trusted=True)
    inlet, _ = _inlet(streams)
    sample = Sample(item="a", time_ms=_NOW, value=1.0)
    messages = [
        MetricBatch(host=host, samples=(sample,), agent_age_s=age)
        for host, age in (("h1", 30.0), ("h2", 7.5), ("h3", None))
    ]
    inlet.handle([_delivery(message.model_dump_json().encode()) for message in messages])
    told = [batch for _, batch in streams.appended]
    assert all({host for host, _ in batch.started} <= set(batch.hosts) for batch in told)
    started = [pair for batch in told for pair in batch.started]
    assert sorted(started) == [("h1", _NOW - 30_000), ("h2", _NOW - 7500)]


def test_bad_messages_are_answered_and_dead_lettered_and_good_ones_kept(streams: _Streams) -> None:
    inlet, bus = _inlet(streams)
    good = encode(from_rows([("h1", "b", "", _NOW, 2.0)]))
    future = encode(from_rows([("h1", "b", "", _NOW + 10**6, 2.0)]))
    inlet.handle(
        [
            _delivery(b"{}"),
            _delivery(b"junk", ARROW),
            _delivery(future, ARROW),
            _delivery(good, ARROW),
        ]
    )
    assert streams.rows() == [("h1", "b", "", 2.0)]
    dead = [out for out in bus.published if out.routing_key.endswith(".dead")]
    assert len(dead) == 3
    reasons = " ".join(out.headers["x-reason"] for out in dead)
    assert "host: Field required" in reasons
    assert "not an Arrow IPC stream" in reasons
    assert "in the future" in reasons
    assert dead[1].body == b"junk"
    assert len(bus.published) == 6


def test_deliveries_are_not_acked_when_the_broker_does_not_confirm(streams: _Streams) -> None:
    inlet, _ = _inlet(streams)
    streams.down = True
    with pytest.raises(BrokerUnavailable):
        inlet.handle([_delivery(encode(from_rows([("h1", "b", "", _NOW, 2.0)])), ARROW)])


def test_heartbeats_tell_every_partition_the_time(streams: _Streams) -> None:
    Ingest(streams, 3, lambda: _NOW).heartbeat()
    assert [(number, batch.clock_ms) for number, batch in streams.appended] == [
        (0, _NOW),
        (1, _NOW),
        (2, _NOW),
    ]


def test_the_streams_hear_who_brings_a_machine_and_when_it_sent_last() -> None:
    streams = _Streams(trusted=True)
    ingest = Ingest(streams, 4, lambda: _NOW)
    with serving(make_app(Settings(), ingest)) as client:
        for _ in range(2):
            _post(client, _request((_LOAD, [(_NOW, 1.0)])), user_agent="Prometheus/2.53.0")
        _post(client, _request((_LOAD, [(_NOW, 1.0)])), user_agent="vmagent <x>")
    brought = [pair for _, batch in streams.appended for pair in batch.brought]
    prometheus, vmagent = "127.0.0.1 Prometheus/2.53.0", "127.0.0.1 vmagent"
    assert brought == [("web1", prometheus), ("web1", vmagent)]
    streams.appended.clear()
    ingest.heartbeat()
    assert len(streams.appended) == 4
    for _, batch in streams.appended:
        assert batch.senders == ((prometheus, _NOW, 1), (vmagent, _NOW, 1))


def test_a_request_that_nobody_can_store_costs_no_other(
    streams: _Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Ingest.publish_parts

    def failing(self: Ingest, parts: Iterable[tuple[int, SampleBatch]]) -> None:
        parts = list(parts)
        if any(np.isnan(batch.value).any() for _, batch in parts):
            raise ArithmeticError("nobody foresaw this")
        whole(self, parts)

    monkeypatch.setattr(Ingest, "publish_parts", failing)
    with serving(make_app(Settings(), Ingest(streams, 4, lambda: _NOW))) as client:
        answer = _post(client, _request((_LOAD, [(_NOW, float("nan"))])))
        assert answer.status_code == 400
        assert "could not store" in answer.text
        assert _post(client, _request((_LOAD, [(_NOW, 1.0)]))).status_code == 204
    assert len(streams.appended) == 1


def test_a_gateway_that_cannot_publish_says_so_at_once_and_keeps_nothing(streams: _Streams) -> None:
    """Two requests are at the broker, which falls silent; a third waits, and a fourth comes."""
    at_broker, goes_on, away = threading.Semaphore(0), threading.Event(), [""]
    append = streams.publish_partitions

    def silent(batches: Sequence[tuple[int, bytes, str]]) -> None:
        at_broker.release()
        assert goes_on.wait(60)
        append(batches)

    streams.publish_partitions = silent
    app = make_app(Settings(gateway_in_flight=3), Ingest(streams, 4, lambda: _NOW), lambda: away[0])
    with serving(app) as client, ThreadPoolExecutor(5) as senders:
        body = _request((_LOAD, [(_NOW, 1.0)]))
        first = senders.submit(_post, client, body)
        assert at_broker.acquire(timeout=60)
        second = senders.submit(_post, client, body)
        assert at_broker.acquire(timeout=60)
        # One of these takes the last place and waits; there is none for the others.
        further = [senders.submit(_post, client, body) for _ in range(3)]
        eventually(lambda: sum(each.done() for each in further) == 2, "those without a place")
        (third,) = (each for each in further if not each.done())
        assert [each.result().status_code for each in further if each.done()] == [429, 429]
        away[0] = "the broker has confirmed nothing for 12 s"
        goes_on.set()

        assert [first.result(60).status_code, second.result(60).status_code] == [204, 204]
        answers = [third.result(60), _post(client, body)]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert all("confirmed nothing for 12 s" in answer.text for answer in answers)
        assert all(answer.headers["retry-after"] for answer in answers)
    assert len(streams.appended) == 2, "nothing of the third is kept"


def test_samples_that_cannot_be_stored_now_leave_nothing_answered_and_nothing_counted(
    streams: _Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    inlet, bus = _inlet(streams)
    before = _rejected()

    def unavailable(_ingest: Ingest, _batches: object) -> None:
        raise BrokerUnavailable("the disk is full")

    message = MetricBatch(host="h1", samples=(Sample(item="a", time_ms=_NOW, value=1.0),))
    batch = [_delivery(b"{"), _delivery(message.model_dump_json().encode())]
    with monkeypatch.context() as changed:
        changed.setattr(Ingest, "publish", unavailable)
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                inlet.handle(batch)
    assert (bus.published, _rejected()) == ([], before)
    inlet.handle(batch)
    dead = [out for out in bus.published if "x-reason" in out.headers]
    assert (len(dead), _rejected()) == (1, before + 1)
    assert streams.rows() == [("h1", "a", "", 1.0)]


def _rejected() -> float:
    labels = {"queue": "detector.samples", "outcome": "rejected"}
    return REGISTRY.get_sample_value("barograph_messages_total", labels) or 0
