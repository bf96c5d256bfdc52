"""The number of partitions is raised on a real broker, by the documented steps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from services.detector.main import Detector
from services.detector.settings import Settings
from shared.samples import encode, from_rows
from shared.topology import partition_of
from tests.brokers import BrokerUnderTest
from tests.waiting import eventually

HOSTS = [f"raised{number}" for number in range(16)]


@contextmanager
def running(
    broker: BrokerUnderTest, state: Path, number: int, before: int = 0
) -> Iterator[Detector]:
    """A detector that judges and has a gateway."""
    settings = Settings(
        broker_url=SecretStr(broker.url("detector")),
        state_dir=state,
        metric_partitions=number,
        metric_partitions_before=before,
        heartbeat_s=0,
    )
    detector = Detector(settings)
    detector.service.start()
    try:
        detector.service.bus.wait_ready()
        yield detector
    finally:
        detector.service.stop()


def publish(detector: Detector, number: int) -> None:
    now = time.time_ns() // 1_000_000
    rows = [(host, "app.queue", "", now, 1.0) for host in HOSTS]
    batches = []
    for partition in range(number):
        own = [row for row in rows if partition_of(row[0], number) == partition]
        batches.append((partition, encode(from_rows(own, clock_ms=now)), f"{partition}-{now}"))
    detector.service.bus.publish_partitions(batches)


def points(detector: Detector) -> dict[str, int]:
    """Return how many points each of our machines' series has had, in the partition it is in."""
    found: dict[str, int] = {}
    for owner in detector.service._owners:
        engine = getattr(owner._made, "_engine", None)
        # Its thread names new series first and makes room for their points then.
        added = engine._recent.state["added"].tolist() if engine else []
        names = engine._series.names if engine else []
        for (host, _, _), count in zip(names, added, strict=False):
            if host in HOSTS:
                assert partition_of(host, len(detector.service._owners)) == owner.partition
                found[host] = count
    return found


def not_restored(detector: Detector) -> str:
    return json.dumps(detector.service._sharing.wrong() if detector.service._sharing else {})


def test_what_was_learned_is_taken_over_and_nothing_is_lost(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    with running(broker, tmp_path, 2) as detector:
        publish(detector, 2)
        publish(detector, 2)
        eventually(lambda: points(detector) == dict.fromkeys(HOSTS, 2), "two points of each")

    with running(broker, tmp_path, 4) as forgotten:
        eventually(lambda: "METRIC_PARTITIONS_BEFORE" in not_restored(forgotten), "the refusal")
    with running(broker, tmp_path, 4, before=2) as raised:
        eventually(lambda: "no batch of a gateway" in not_restored(raised), "its waiting")
        publish(raised, 4)
        eventually(lambda: points(raised) == dict.fromkeys(HOSTS, 3), "the third point of each")
    # The old number is needed no more once each partition has snapshots of its own.
    with running(broker, tmp_path, 4) as after:
        publish(after, 4)
        eventually(lambda: points(after) == dict.fromkeys(HOSTS, 4), "the fourth point of each")
