"""A detector killed with SIGKILL again and again says what an undisturbed one says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pika
import pika.exceptions
import pytest

from services.detector.settings import EngineSettings
from services.detector.worker import DetectorWorker
from shared.columns import Array
from shared.contracts import MetricBatch
from shared.contracts.metrics import Sample
from shared.messaging import Bus
from shared.samples import encode, from_message
from shared.snapshots import Stored
from shared.topology import partition_of
from tests.brokers import BrokerUnderTest
from tests.waiting import eventually

_ENGINE = {
    "combination": {"mode": "branch", "aperiodic_needed": 1},
    "detectors": {
        "short_term": {"window_points": 60, "blocks": 6, "min_points": 15},
        "long_term": {"min_points": 15, "settle": 5},
    },
    "stale_after_s": 1e9,
    "silent_after_s": 1e9,
}
_HOSTS = 6
_ROUNDS = 150


def _batches(name: str) -> list[MetricBatch]:
    """Samples of machines of that name: the streams may still hold what other tests wrote."""
    rng = np.random.default_rng(11)
    start = int(time.time() * 1000) - _ROUNDS * 60_000
    return [
        MetricBatch(
            host=host,
            samples=(
                Sample(
                    item="queue",
                    time_ms=start + minute * 60_000,
                    value=100 + rng.normal() + (400 if minute % 25 > 20 else 0),
                ),
            ),
        )
        for minute in range(_ROUNDS)
        for host in (f"{name}{number}" for number in range(_HOSTS))
    ]


class _NoSnapshots:
    def write(self, offset: int, arrays: Mapping[str, Array]) -> None:
        pass

    def newest_first(self) -> Iterator[tuple[str, Stored]]:
        return iter(())

    def begin_again(self) -> None:
        pass


def _expected(batches: list[MetricBatch]) -> set[str]:
    """Return what one worker a partition says of the same samples, without any broker."""
    settings = EngineSettings.model_validate(_ENGINE)
    found = set()
    for number in range(4):
        worker = DetectorWorker(number, settings, _NoSnapshots())
        for offset, batch in enumerate(batches):
            if partition_of(batch.host, 4) == number:
                body = encode(from_message(batch))
                found |= {event.message_id() for event in worker.process(offset, body)}
    return found


class _Service:
    """The detector as a process of its own."""

    def __init__(self, url: str, directory: Path, name: str = "0") -> None:
        self._environment = os.environ | {
            "BAROGRAPH_DETECTOR_INSTANCE": name,
            "BAROGRAPH_DETECTOR_BROKER_URL": url,
            "BAROGRAPH_DETECTOR_STATE_DIR": str(directory),
            "BAROGRAPH_DETECTOR_ENGINE": json.dumps(_ENGINE),
            "BAROGRAPH_DETECTOR_SNAPSHOT_EVERY_S": "0.2",
            "BAROGRAPH_DETECTOR_HEARTBEAT_S": "0",
        }
        self._log = (directory / "detector.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.detector"],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait() == 0
        self._process = None

    def close(self) -> None:
        self.kill()
        self._log.close()


@pytest.mark.parametrize("kills", [3])
def test_kills_neither_lose_nor_add_an_event(
    broker: BrokerUnderTest, tmp_path: Path, kills: int
) -> None:
    batches = _batches("kill")
    expected = _expected(batches)
    assert len(expected) > 2 * _HOSTS
    with ExitStack() as stack:
        connection = pika.BlockingConnection(pika.URLParameters(broker.url()))
        stack.callback(connection.close)
        service = _Service(broker.url("detector"), tmp_path)
        stack.callback(service.close)
        service.start()
        eventually(lambda: _bound(broker.url()), "the detector has declared its queue")
        channel = connection.channel()
        channel.confirm_delivery()
        tap = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(tap, "from.detector", "anomaly.#")
        seen: list[str] = []
        channel.basic_consume(
            tap,
            lambda _c, _m, properties, body: _keep(seen, properties, body, "kill"),
            auto_ack=True,
        )
        part = len(batches) // (kills + 1)
        for number in range(kills + 1):
            for batch in batches[number * part :][: part if number < kills else None]:
                # A queue is there a moment before it is bound.
                eventually(lambda b=batch: _routed(channel, b), "the samples' queue is bound")
            if number < kills:
                before = len(seen)
                eventually(lambda n=before: _more(connection, seen, n), "events flow")
                service.kill()
                service.start()

        def all_there() -> bool:
            connection.process_data_events(0.1)
            return expected <= set(seen)

        eventually(all_there, "every event of the undisturbed run")
        assert set(seen) == expected


def test_replicas_that_join_leave_and_die_say_together_what_one_says(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    batches = _batches("share")
    expected = _expected(batches)
    names = ("one", "two", "three")
    with ExitStack() as stack:
        connection = pika.BlockingConnection(pika.URLParameters(broker.url()))
        stack.callback(connection.close)
        one, two, three = (_Service(broker.url("detector"), tmp_path, name) for name in names)
        for service in (one, two, three):
            stack.callback(service.close)
        gateway = Bus(broker.url("detector"), "detector", "gateway")
        gateway.start()
        stack.callback(gateway.stop)
        gateway.wait_ready(240)
        channel = connection.channel()
        tap = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(tap, "from.detector", "anomaly.#")
        seen: list[str] = []
        channel.basic_consume(
            tap,
            lambda _c, _m, properties, body: _keep(seen, properties, body, "share"),
            auto_ack=True,
        )
        acts = (one.start, two.start, one.kill, three.start, two.terminate, one.start)
        part = len(batches) // len(acts)
        for number, act in enumerate(acts):
            before = len(seen)
            act()
            end = part * (number + 1) if number + 1 < len(acts) else None
            for batch in batches[number * part : end]:
                partition = partition_of(batch.host, 4)
                gateway.publish_partitions([(partition, encode(from_message(batch)), "")])
            eventually(lambda n=before: _more(connection, seen, n), "events flow")

        def all_there() -> bool:
            connection.process_data_events(0.1)
            return expected <= set(seen)

        eventually(all_there, "every event of the undisturbed run")
        assert set(seen) == expected


def _keep(seen: list[str], properties: pika.BasicProperties, body: bytes, name: str) -> None:
    if json.loads(body)["series"]["host"].startswith(name):
        seen.append(str(properties.message_id))


def _more(connection: pika.BlockingConnection, seen: list[str], before: int) -> bool:
    connection.process_data_events(0.05)
    return len(seen) > before


def _routed(channel: Any, batch: MetricBatch) -> bool:
    try:
        channel.basic_publish(
            "metrics",
            batch.routing_key(),
            batch.model_dump_json().encode(),
            pika.BasicProperties(content_type="application/json"),
            mandatory=True,
        )
    except pika.exceptions.UnroutableError:
        return False
    return True


def _bound(url: str) -> bool:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            channel = connection.channel()
            channel.queue_declare("detector.samples", passive=True)
            channel.queue_declare("metrics.3", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
    return True
