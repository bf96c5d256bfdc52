"""Samples: remote write and Arrow, through the gateway's readers, the streams' form, the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st

from services.detector.engine import Engine
from services.detector.gateway.amqp import SampleInlet
from services.detector.gateway.ingest import Ingest
from services.detector.gateway.remote_write import Message, Receiver
from services.detector.settings import EngineSettings
from shared.contracts import Message as Event
from shared.contracts import MetricBatch
from shared.messaging import Bus, Delivery, Outgoing
from shared.messaging.bus import ARROW, JSON
from shared.messaging.limits import fault_of
from shared.samples import InvalidBatch, decode, encode, from_rows
from tests.hostile.fuzz.door import Door, ViolationError, drawn
from tests.hostile.fuzz.messages import bodies
from tests.hostile.fuzz.mutation import Parts
from tests.hostile.test_any_sample import _T0, _hosts, _items, _requests, _series, _values
from tests.remote_write import request_1, request_2

NOW_MS = _T0 + 600_000
_URL = "amqp://detector:unused@127.0.0.1:1/%2F"
_GOOD = ("good.example.com", "cpu.idle", "", NOW_MS, 1.0)


def remote_writes(seed: int, count: int) -> list[Parts]:
    """Version and protobuf of requests with any names and values."""
    found: list[Parts] = []
    for number, series in enumerate(
        drawn(st.lists(_series(), min_size=1, max_size=4), seed, count)
    ):
        for request in _requests(series)[:2]:
            write = request_2 if number % 2 else request_1
            found.append((b"2" if number % 2 else b"1", write(*request)))
    return found


class Judge:
    """The engine behind a stream, and a bus that says whether its events could be sent."""

    def __init__(self) -> None:
        self._engine = Engine(EngineSettings(alarm_confirm_s=0, stale_after_s=1e9))
        self._bus = Bus(_URL, "detector")

    def take(self, body: bytes) -> None:
        """A message of a stream, as the gateway wrote it."""
        events: list[Event] = list(self._engine.process(decode(body, trusted=True)))
        for event in events:
            if type(event).model_validate_json(event.model_dump_json()) != event:
                raise ViolationError(f"not the same after a journey: {event}")
            fault = fault_of(self._bus.prepare(event))
            if fault:
                raise ViolationError(f"its event cannot be sent: {fault}")


class _RemoteWrite:
    def __init__(self) -> None:
        self._receiver = Receiver("", lambda _host: 0)
        self._judge = Judge()

    def enter(self, parts: Parts) -> str:
        kind, raw = parts
        message = Message.V2 if kind == b"2" else Message.V1
        data = np.frombuffer(raw, dtype=np.uint8)
        try:
            received = self._receiver.read(data, message, NOW_MS + 60_000, sender="fuzz")
        except InvalidBatch:
            return "refused"
        finally:
            batches = list(self._receiver.batches())
        for _, batch in batches:
            if np.isinf(batch.value).any():
                raise ViolationError("an infinite value was taken")
            self._judge.take(encode(batch))
        return "answered in part" if received.faults else "answered"


class _Streams:
    def __init__(self, judge: Judge) -> None:
        self.hosts: set[str] = set()
        self._judge = judge

    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        for _, body, _ in batches:
            self.hosts |= set(decode(body, trusted=True).hosts)
            self._judge.take(body)


class _Batches:
    """The AMQP door of samples; a good batch comes with each one that is tried."""

    def __init__(self) -> None:
        self._bus = Bus(_URL, "detector")
        self._said: list[Outgoing] = []
        self._bus.publish_prepared = self._publish
        self._streams = _Streams(Judge())
        ingest = Ingest(self._streams, 4, lambda: NOW_MS)
        self._inlet = SampleInlet(self._bus, ingest, lambda: datetime.now(UTC))
        self._good = encode(from_rows([_GOOD]))
        self.checked = 0

    def _publish(self, outgoing: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        del timeout_s
        self._said += outgoing

    def enter(self, parts: Parts) -> str:
        kind, body = parts
        self._said.clear()
        self._streams.hosts.clear()
        tried = _delivery(body, ARROW if kind == b"arrow" else JSON)
        self._inlet.handle([tried, _delivery(self._good, ARROW)])
        if _GOOD[0] not in self._streams.hosts:
            raise ViolationError("the good batch beside it was not taken")
        self.checked += 1
        for out in self._said:
            fault = fault_of(out)
            if fault:
                raise ViolationError(f"what it would publish cannot be sent: {fault}")
        dead = [out for out in self._said if out.routing_key.endswith(".dead")]
        return "dead-lettered" if dead else "handled"


def _delivery(body: bytes, content_type: str) -> Delivery:
    headers = {"cloudEvents_type": f"barograph.{MetricBatch.TYPE}.v1"}
    return Delivery(
        "detector.samples", 1, "metrics", "samples.h1", headers, "id1", content_type, body
    )


_rows = st.lists(
    st.tuples(_hosts, _items, st.sampled_from(["", '{"a":"b"}', "["]), st.just(NOW_MS), _values),
    min_size=1,
    max_size=4,
)


def _batches(seed: int, count: int) -> list[Parts]:
    arrow = [(b"arrow", encode(from_rows(rows))) for rows in drawn(_rows, seed, count)]
    json = [(b"json", m.model_dump_json().encode()) for m in bodies(MetricBatch, seed, count // 2)]
    good = MetricBatch.model_validate(
        {"host": "h1", "samples": [{"item": "cpu.idle", "time_ms": NOW_MS, "value": 1.0}]}
    )
    known = [(b"arrow", encode(from_rows([_GOOD]))), (b"json", good.model_dump_json().encode())]
    return [*known, *arrow, *json]


def _remote_write_door() -> Door:
    return Door("remote-write", remote_writes, _RemoteWrite().enter, frozenset({0}))


def _batch_door() -> Door:
    inlet = _Batches()
    return Door(
        "sample-batches", _batches, inlet.enter, frozenset({0}), checked=lambda: inlet.checked
    )


DOORS = {"remote-write": _remote_write_door, "sample-batches": _batch_door}
