"""A real stream with batches that no worker can take: they are kept, and the others count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from shared.contracts import Message
from shared.messaging import DeadLetter, DeadLetters, Reject
from shared.samples import decode, encode, from_rows
from shared.service import Service
from shared.settings import ServiceSettings
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import soon


class _Disk:
    def __init__(self) -> None:
        self.offset: int | None = None
        self.seen: list[str] = []


class _Strict:
    """Notes the machines it hears of; does not take those called ``bad…``."""

    def __init__(self, disk: _Disk, latest: list[_Strict]) -> None:
        self._disk = disk
        self.seen: list[str] = []
        latest[:] = [self]

    def restore(self) -> int | None:
        self.seen = list(self._disk.seen)
        return self._disk.offset

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        del offset
        if batch.startswith(b"no batch"):
            raise Reject("not an Arrow IPC stream")
        rows = decode(batch, trusted=True)
        for host in (rows.hosts[code] for code in rows.host_code):
            if host.startswith("bad"):
                raise ZeroDivisionError(host)
            self.seen.append(host)
        return ()

    def snapshot(self, offset: int) -> None:
        self._disk.offset, self._disk.seen = offset, list(self.seen)

    def close(self) -> None: ...


class Detector:
    """A detector of one partition."""

    def __init__(self, broker: BrokerUnderTest, folder: Path) -> None:
        self._disk, self.latest = _Disk(), list[_Strict]()
        settings = ServiceSettings(
            broker_url=SecretStr(broker.url("detector")), metric_partitions=1, state_dir=folder
        )
        self.service = Service(
            "detector",
            settings,
            partition_worker=lambda _: _Strict(self._disk, self.latest),
            snapshot_every_s=0.05,
        )

    def send(self, *hosts: str) -> None:
        rows = [(host, "i", "", 1_000, 1.0) for host in hosts]
        self.send_raw(encode(from_rows(rows)))

    def send_raw(self, body: bytes) -> None:
        self.service.bus.publish_partitions([(0, body, "x")])

    @property
    def seen(self) -> list[str]:
        return self.latest[0].seen if self.latest else []


@pytest.fixture
def detector(broker: BrokerUnderTest, tmp_path: Path) -> Iterator[Detector]:
    running = Detector(broker, tmp_path)
    running.service.start()
    running.service.bus.wait_ready()
    yield running
    running.service.stop()


def test_a_partition_goes_on_after_what_it_cannot_take_and_keeps_it_with_its_place(
    detector: Detector, broker: BrokerUnderTest
) -> None:
    detector.send("a")
    detector.send_raw(b"no batch at all")
    detector.send("b", "bad1", "c")
    detector.send("d", "bad1")
    detector.send("e")
    soon(lambda: "e" in detector.seen, "the last batch")
    assert sorted(detector.seen) == ["a", "b", "c", "d", "e"]

    letters = DeadLetters(broker.url("operator"))

    def kept() -> dict[str, DeadLetter]:
        # A batch set aside before the state was restored is set aside again, by the same id.
        return {letter.message_id: letter for letter in letters.look("detector.partitions")}

    soon(lambda: kept().keys() == {"0-1", "0-2"}, "what was set aside")
    assert kept()["0-1"].body == b"no batch at all"
    assert "ZeroDivisionError: bad1" in kept()["0-2"].reason
    assert detector.service.liveness.wrong() == {}

    owner = detector.service._owners[0]
    owner.show_lag()
    soon(lambda: owner.head.offset == 4, "where the stream ends")
    owner.show_lag()
    labels = {"partition": "0"}
    assert REGISTRY.get_sample_value("barograph_partition_lag_seconds", labels) == 0
