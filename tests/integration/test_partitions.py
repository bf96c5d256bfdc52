"""Owning partitions on a real broker: one owner, no gap and no repeat at a take-over."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from shared.contracts import Message
from shared.service import Service
from shared.settings import ServiceSettings
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import soon

_SNAPSHOTS: dict[int, tuple[int, list[bytes]]] = {}


class Recorder:
    """Keeps every batch it was given; its snapshots outlive it."""

    alive: ClassVar[dict[tuple[str, int], Recorder]] = {}

    def __init__(self, name: str, partition: int) -> None:
        self.partition = partition
        self.bodies: list[bytes] = []
        Recorder.alive[name, partition] = self

    def restore(self) -> int | None:
        offset, bodies = _SNAPSHOTS.get(self.partition, (None, []))
        self.bodies = list(bodies)
        return offset

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        del offset
        self.bodies.append(batch)
        return ()

    def snapshot(self, offset: int) -> None:
        _SNAPSHOTS[self.partition] = (offset, list(self.bodies))


def _replica(broker: BrokerUnderTest, name: str) -> Service:
    settings = ServiceSettings(
        broker_url=SecretStr(broker.url("detector")), instance=name, metric_partitions=4
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


def _held(name: str) -> list[bytes]:
    workers = [w for (who, _), w in Recorder.alive.items() if who == name]
    return [body for worker in workers for body in worker.bodies]


def test_a_second_replica_takes_over_without_a_gap_or_a_repeat(broker: BrokerUnderTest) -> None:
    first = _replica(broker, "one")
    soon(lambda: len([1 for who, _ in Recorder.alive if who == "one"]) == 4, "all partitions")
    sent = [b"batch-%d" % number for number in range(120)]
    for number, body in enumerate(sent[:80]):
        first.bus.publish_partition(number % 4, body, str(number))
    soon(lambda: len(_held("one")) == 80, "the first batches")
    second = _replica(broker, "two")
    try:
        assert _held("two") == [], "a partition has one owner"
        first.stop()
        for number, body in enumerate(sent[80:]):
            second.bus.publish_partition(number % 4, body, str(80 + number))
        soon(lambda: len(_held("two")) == 120, "the rest, by the other replica")
        assert sorted(_held("two")) == sorted(sent)
    finally:
        second.stop()


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
        soon(lambda: len([1 for who, _ in Recorder.alive if who == "heir"]) == 4, "the heir", 60)
    finally:
        heir.stop()


def _first_word(stream: Iterable[str]) -> str:
    for line in stream:
        if line.startswith("owned"):
            return "owned"
    return ""
