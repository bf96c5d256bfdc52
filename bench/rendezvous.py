"""Rendezvous of a cluster: from its last member's report until every member has the ClusterSpec.

Real RabbitMQ and the real autospec service. Each member has its own queue, bound as a launcher
binds it; a few connections hold them all, since what is measured is the way of the message.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pika

from shared.contracts import Member, PodReported, RendezvousOpen, Role
from shared.embedded.broker import EmbeddedBroker
from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports, wait_until
from shared.embedded.stackfile import is_ready
from shared.messaging import Bus

_CONNECTIONS = 8
_ROUNDS, _LARGE_ROUNDS, _LARGE = 20, 6, 200
_SETTLE_S, _REPORTS_PER_S = 0.5, 200
"""The time that all but the last report may take to be noted before the last one is sent."""


class Members(threading.Thread):
    """Queues of some of the members, on one connection; when each spec came to each."""

    def __init__(self, url: str, numbers: range, words: list[str]) -> None:
        super().__init__(daemon=True)
        self.came: dict[str, list[float]] = {word: [] for word in words}
        self._link = pika.BlockingConnection(pika.URLParameters(url))
        channel = self._link.channel()
        for number in numbers:
            queue = f"member.bench.worker-{number}"
            channel.queue_declare(queue, exclusive=True)
            for word in words:
                channel.queue_bind(queue, "from.autospec", f"clusterspec.ready.{word}")
            channel.basic_consume(queue, self._heard, auto_ack=True)
        self._channel = channel

    def run(self) -> None:
        """Take what comes until stopped."""
        self._channel.start_consuming()

    def stop(self) -> None:
        """Ask it to end; for another thread."""
        self._link.add_callback_threadsafe(self._channel.stop_consuming)
        self.join()
        self._link.close()

    def _heard(self, _channel: object, method: object, _properties: object, _body: bytes) -> None:
        word = method.routing_key.rpartition(".")[2]  # type: ignore[attr-defined] # pika's stubs are coarse
        self.came[word].append(time.monotonic())


def rendezvous(broker: EmbeddedBroker, folder: Path, members: int) -> dict[str, object]:
    """Gather ``members`` workers repeatedly."""
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "BAROGRAPH_BROKER_URL": broker.url("autospec"),
        "BAROGRAPH_STORE_URL": f"sqlite:///{folder}/autospec-{members}.db",
        "BAROGRAPH_HEALTH_PORT": str(port),
    }
    autospec = OwnedProcess(
        [sys.executable, "-m", "services.autospec"], log=folder / "autospec.log", env=environment
    )
    rounds = _ROUNDS if members < _LARGE else _LARGE_ROUNDS
    words = [f"gather{members}x{number}" for number in range(rounds)]
    share = -(-members // _CONNECTIONS)
    waiting: list[Members] = []
    buses: list[Bus] = []
    try:
        wait_until(
            lambda: is_ready(f"http://{LOOPBACK}:{port}"), 60, "autospec", alive=autospec.alive
        )
        for first in range(0, members, share):
            numbers = range(first, min(first + share, members))
            waiting.append(Members(broker.url(), numbers, words))
            waiting[-1].start()
        for principal in ("task", "member"):
            buses.append(Bus(broker.url(principal), principal, "bench", word="bench"))
            buses[-1].start(consume=False)
            buses[-1].wait_ready(60)
        late = [_round(buses[0], buses[1], waiting, word, members) for word in words]
    finally:
        for bus in buses:
            bus.stop()
        for each in waiting:
            each.stop()
        autospec.stop()
    cold, *rest = late  # the first one finds everything cold
    every = np.concatenate(rest)
    return {
        "members": members,
        "rounds": len(rest),
        "p50_ms": round(float(np.quantile(every, 0.5)) * 1000, 1),
        "p99_ms": round(float(np.quantile(every, 0.99)) * 1000, 1),
        "last_member_p50_ms": round(float(np.median([r.max() for r in rest])) * 1000, 1),
        "first_round_ms": round(float(cold.max()) * 1000, 1),
    }


def _round(
    task: Bus, member: Bus, waiting: list[Members], word: str, members: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds from the last report until each member had the spec."""
    deadline = datetime.now(UTC) + timedelta(minutes=5)
    opened = RendezvousOpen(job_id=word, roles={Role.WORKER: members}, deadline=deadline)
    task.publish([opened], timeout_s=60)
    reports = [
        PodReported(
            job_id=word,
            member=Member(role=Role.WORKER, index=number, incarnation=1),
            host=f"10.{number >> 8}.{number & 255}.1",
            port=2222,
            at=datetime.now(UTC),
        )
        for number in range(members)
    ]
    if members > 1:
        member.publish(reports[:-1], timeout_s=60)
    time.sleep(_SETTLE_S + members / _REPORTS_PER_S)
    last = time.monotonic()
    member.publish(reports[-1:], timeout_s=60)
    until = time.monotonic() + 60
    while sum(len(each.came[word]) for each in waiting) < members:
        if time.monotonic() > until:
            raise TimeoutError(f"{word}: not every member got its spec")
        time.sleep(0.005)
    return np.array([at for each in waiting for at in each.came[word]]) - last
