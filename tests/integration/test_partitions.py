"""Owning partitions on a real broker: one owner, no gap and no repeat at a take-over."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pika
from pydantic import SecretStr

from shared.contracts import Message
from shared.service import Service
from shared.settings import ServiceSettings
from shared.topology import partition_queue
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import soon

_SNAPSHOTS: dict[int, tuple[int, list[bytes]]] = {}


class Recorder:
    """Keeps every batch it was given; its snapshots outlive it."""

    alive: ClassVar[dict[tuple[str, int], Recorder]] = {}
    began_again: ClassVar[list[int]] = []

    def __init__(self, name: str, partition: int) -> None:
        self.partition = partition
        self.bodies: list[bytes] = []
        Recorder.alive[name, partition] = self

    def restore(self) -> int | None:
        offset, bodies = _SNAPSHOTS.get(self.partition, (None, []))
        self.bodies = list(bodies)
        return offset

    def begin_again(self) -> None:
        Recorder.began_again.append(self.partition)

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        del offset
        self.bodies.append(batch)
        return ()

    def snapshot(self, offset: int) -> None:
        _SNAPSHOTS[self.partition] = (offset, list(self.bodies))

    def close(self) -> None:
        self.bodies = []


def _replica(broker: BrokerUnderTest, name: str, partitions: int = 8) -> Service:
    settings = ServiceSettings(
        broker_url=SecretStr(broker.url("detector")), instance=name, metric_partitions=partitions
    )
    service = Service(
        "detector",
        settings,
        partition_worker=lambda p: Recorder(name, p),
        snapshot_every_s=0.05,
    )
    service.start()
    service.bus.wait_ready()
    return service


def _owned(service: Service) -> list[int]:
    return [owner.partition for owner in service._owners if owner.owned]


def _shared_out(services: Sequence[Service], partitions: int) -> bool:
    """Return whether each partition has one owner, and nobody has two more than anybody else."""
    owned = [_owned(service) for service in services]
    loads = [len(each) for each in owned]
    return sorted(p for each in owned for p in each) == [*range(partitions)] and (
        max(loads) - min(loads) <= 1
    )


def _held(name: str) -> list[bytes]:
    workers = [w for (who, _), w in Recorder.alive.items() if who == name]
    return [body for worker in workers for body in worker.bodies]


def _everything(snapshots: Mapping[int, tuple[int, list[bytes]]]) -> list[bytes]:
    return sorted(body for _, bodies in snapshots.values() for body in bodies)


def test_partitions_are_shared_out_and_handed_over_without_a_gap_or_a_repeat(
    broker: BrokerUnderTest,
) -> None:
    _SNAPSHOTS.clear()
    sent = [b"batch-%d" % number for number in range(480)]
    first = _replica(broker, "one")
    soon(lambda: _shared_out([first], 8), "one replica with everything")

    def publish(service: Service, first_number: int, end: int) -> None:
        for number in range(first_number, end):
            service.bus.publish_partitions([(number % 8, sent[number], str(number))])

    publish(first, 0, 120)
    second = _replica(broker, "two")
    publish(first, 120, 240)
    soon(lambda: _shared_out([first, second], 8), "two replicas")
    third = _replica(broker, "three")
    publish(second, 240, 360)
    soon(lambda: _shared_out([first, second, third], 8), "three replicas")
    first.stop()
    publish(second, 360, 480)
    soon(lambda: _shared_out([second, third], 8), "two replicas again")
    second.stop()
    soon(lambda: _shared_out([third], 8), "the last one")
    soon(lambda: len(_held("three")) == len(sent), "all that was sent")
    third.stop()
    assert not Recorder.began_again, "each stream was the one of its snapshot"
    assert _everything(_SNAPSHOTS) == sorted(sent), "nothing is lost, nothing twice"
    for partition, (_, bodies) in _SNAPSHOTS.items():
        assert bodies == sent[partition::8], "the order of the stream is kept"


def test_a_state_whose_stream_was_lost_stays_and_the_new_stream_is_read_from_its_first_batch(
    broker: BrokerUnderTest,
) -> None:
    """A broker may lose its data, and a new one may stand beside a backup of the snapshots."""
    _SNAPSHOTS[0] = (41, [b"old"])
    _delete_stream(broker, 0)
    first = _replica(broker, "empty", 1)
    soon(lambda: _owned(first) == [0], "the owner of an empty stream")
    first.bus.publish_partitions([(0, b"new", "1")])
    soon(lambda: _held("empty") == [b"old", b"new"], "the first batch of the new stream")
    first.stop()
    # The state is now of a stream that went on for longer than this one has.
    _SNAPSHOTS[0] = (41, [b"old"])
    second = _replica(broker, "short", 1)
    soon(lambda: _held("short") == [b"old", b"new"], "the batch that was there before")
    second.bus.publish_partitions([(0, b"newest", "2")])
    soon(lambda: _held("short") == [b"old", b"new", b"newest"], "the next one")
    second.stop()
    assert Recorder.began_again == [0, 0]
    assert _SNAPSHOTS[0] == (1, [b"old", b"new", b"newest"])


def _delete_stream(broker: BrokerUnderTest, partition: int) -> None:
    link = pika.BlockingConnection(pika.URLParameters(broker.url()))
    link.channel().queue_delete(partition_queue(partition))
    link.close()


_OWNER = """
    import sys, time
    from pydantic import SecretStr
    from shared.service import Service
    from shared.settings import ServiceSettings

    class Holder:
        def restore(self):
            print("owned", flush=True)
        def process(self, offset, batch):
            return ()
        def snapshot(self, offset):
            pass
        def close(self):
            pass

    settings = ServiceSettings(broker_url=SecretStr(sys.argv[1]), instance="child")
    service = Service("predictor", settings, partition_worker=lambda p: Holder())
    service.start()
    time.sleep(600)
"""


def test_the_partitions_of_a_killed_replica_are_free_again(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    script = tmp_path / "owner.py"
    script.write_text(textwrap.dedent(_OWNER))
    command = [sys.executable, str(script), broker.url("predictor")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env={"PYTHONPATH": str(root)}
    ) as child:
        try:
            assert child.stdout is not None
            for _ in range(4):
                assert _first_word(child.stdout) == "owned"
        finally:
            child.kill()
    settings = ServiceSettings(broker_url=SecretStr(broker.url("predictor")), instance="heir")
    heir = Service("predictor", settings, partition_worker=lambda p: Recorder("heir", p))
    heir.start()
    try:
        soon(lambda: len([1 for who, _ in Recorder.alive if who == "heir"]) == 4, "the heir")
    finally:
        heir.stop()


def _first_word(stream: Iterable[str]) -> str:
    for line in stream:
        if line.startswith("owned"):
            return "owned"
    return ""
