"""Replicas that join, leave, die, are slow or cut off: each batch is worked on once, and in order.

The product's own code runs on a broker and a clock of the test's:
``BAROGRAPH_LIVES=2000 python -m pytest tests/property/test_shared_partitions.py`` tries as many.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, cast

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.contracts import Message
from shared.messaging import BrokerUnavailable, Bus
from shared.messaging.link import Link
from shared.messaging.membership import Membership
from shared.service.partitions import PartitionOwner
from shared.service.sharing import UNOWNED_LIMIT_S, Sharing
from shared.topology import Principal
from tests.property.broker_model import Broker, Connection, Pool, World

PARTITIONS = 6
TAKEN_OVER_S = 12.0
"""After a replica joined, left or died: as long as nobody is cut off, every partition has an owner.

Forgotten after 5 s, and up to a second between two heartbeats, two between attempts at a lock, and
three until a replica of the test is connected.
"""


class Cluster:
    """A service's replicas, its streams, its snapshots and what it has said."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.broker = Broker(self.world, PARTITIONS)
        self.snapshots: dict[int, dict[int, str]] = {p: {} for p in range(PARTITIONS)}
        self.verdicts: dict[tuple[int, int], set[str]] = {}
        self.replicas: list[Replica] = []
        self.faults: list[str] = []
        self._quiet_from = 0.0
        self._unowned_since = dict.fromkeys(range(PARTITIONS), 0.0)
        self.world.watch = self._watch

    def join(self) -> None:
        self.replicas.append(Replica(self, f"replica-{len(self.replicas)}"))
        self.disturbed(TAKEN_OVER_S)

    def disturbed(self, seconds: float) -> None:
        """For so long it is nobody's fault when a partition has no owner."""
        self._quiet_from = max(self._quiet_from, self.world.now + seconds)

    def say(self, partition: int, offset: int, state: str) -> None:
        self.verdicts.setdefault((partition, offset), set()).add(state)

    @property
    def undisturbed(self) -> dict[tuple[int, int], set[str]]:
        """Return what one replica that nothing happens to would say."""
        said: dict[tuple[int, int], set[str]] = {}
        for partition, stream in enumerate(self.broker.streams):
            state = ""
            for offset, body in enumerate(stream):
                state = after(state, body)
                said[partition, offset] = {state}
        return said

    def _watch(self) -> None:
        assert not self.faults, self.faults[0]
        now, locks = self.world.now, self.broker.locks
        for replica in self.replicas:
            replica.watch()
        able = any(replica.able for replica in self.replicas)
        for partition in range(PARTITIONS):
            if not able or f"owner.detector.{partition}" in locks:
                self._unowned_since[partition] = now
            since = max(self._unowned_since[partition], self._quiet_from)
            assert now <= since + TAKEN_OVER_S, f"nobody owns {partition} since {since:.1f} s"


def after(state: str, body: bytes) -> str:
    """The state that follows; it shows each batch that was left out, doubled or out of order."""
    return hashlib.blake2b(state.encode() + body, digest_size=8).hexdigest()


class Worker:
    """Says of each batch all that came before it."""

    def __init__(self, replica: Replica, partition: int) -> None:
        self._replica, self._partition = replica, partition
        self._state = ""

    def restore(self) -> int | None:
        self._replica.pass_time()
        kept = self._replica.cluster.snapshots[self._partition]
        newest = max(kept, default=None)
        self._state = "" if newest is None else kept[newest]
        return newest

    def begin_again(self) -> None:
        raise AssertionError("its stream is the same one")

    def process(self, offset: int, batch: bytes) -> Iterable[Message]:
        self._replica.pass_time()
        self._state = after(self._state, batch)
        said: Any = (self._partition, offset, self._state)
        return [said]

    def snapshot(self, offset: int) -> None:
        self._replica.cluster.snapshots[self._partition][offset] = self._state

    def close(self) -> None: ...


class _Bus(Bus):
    """A bus on the model's connections."""

    def __init__(self, replica: Replica) -> None:
        super().__init__("amqp://detector:unused@127.0.0.1:1/%2F", "detector")
        self._replica = replica

    @property
    def consuming_link(self) -> Link:
        return cast("Link", self._replica.consuming)

    def stream_reaches(self, partition: int, offset: int, timeout_s: float = 5.0) -> bool | None:
        del timeout_s
        return offset < len(self._replica.cluster.broker.streams[partition])

    def prepare(self, message: Any, cause: Any = None) -> Any:
        del cause
        return message

    def publish_prepared(self, outgoing: Sequence[Any], timeout_s: float = 60.0) -> None:
        del timeout_s
        replica = self._replica
        for partition, _, _ in outgoing:
            replica.must_own(partition)
        replica.pass_time()
        if not replica.publishing.known or replica.publishing.cut:
            raise BrokerUnavailable("not connected")
        for partition, offset, state in outgoing:
            replica.cluster.say(partition, offset, state)
        replica.pass_time()
        if replica.publishing.cut:
            raise BrokerUnavailable("no confirm")


class Replica:
    """One process of the service."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, world = cluster, cluster.world
        self.pace_s = 0.01
        self.alive, self.leaving = True, False
        self._left: set[int] = set()
        self.consuming, self.publishing = Connection(cluster.broker), Connection(cluster.broker)
        bus = _Bus(self)
        self._pools = [Pool(world) for _ in range(PARTITIONS)]
        self.owners = [
            PartitionOwner(
                bus,
                number,
                lambda number=number: Worker(self, number),
                5.0,
                lambda: world.now,
                pool,
            )
            for number, pool in enumerate(self._pools)
        ]
        membership = Membership(
            Principal.DETECTOR,
            name,
            cast("Link", self.publishing),
            lambda: world.now,
            "token",
        )
        self.consuming.add(membership)
        for owner in self.owners:
            self.consuming.add(owner.consumer)
        self._sharing = Sharing(
            cast("Link", self.consuming), membership, self.owners, lambda: world.now
        )
        self.publishing.start()
        self.consuming.start()

    @property
    def able(self) -> bool:
        """True if nothing keeps it from owning partitions."""
        return self.alive and not self.leaving and not self.consuming.cut

    def pass_time(self) -> None:
        self.cluster.world.sleep(self.pace_s * self.cluster.world.chance.uniform(0.5, 1.5))

    def must_own(self, partition: int) -> None:
        """Only who has the lock says anything, or who cannot know yet that it is gone."""
        owner = self.cluster.broker.locks.get(f"owner.detector.{partition}")
        if owner is not self.consuming and not self.consuming.cut:
            self.cluster.faults.append(f"two owners of {partition} at {self.cluster.world.now}")

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        # Behind a cut network its locks live until the broker misses its heartbeats.
        self.cluster.disturbed(UNOWNED_LIMIT_S if self.consuming.cut else TAKEN_OVER_S)
        for pool in self._pools:
            pool.kill()
        for link in (self.consuming, self.publishing):
            link.kill()

    def leave(self) -> None:
        """As ``Service.stop`` does: hand everything over, then end."""
        self.leaving = True
        self.cluster.disturbed(TAKEN_OVER_S)
        self._sharing.leave(0.0)

    def watch(self) -> None:
        """Who leaves takes nothing any more, whatever becomes of its connections."""
        if self.leaving and self.alive:
            idle = {owner.partition for owner in self.owners if owner.idle}
            if taken := self._left - idle:
                self.cluster.faults.append(f"{taken} taken at {self.cluster.world.now} to leave")
            self._left |= idle

    def end(self) -> None:
        """The process ends when all is handed over, or its time is up."""
        self.kill()

    def cut(self) -> None:
        if self.alive and not self.consuming.cut:
            self.cluster.disturbed(UNOWNED_LIMIT_S)
            for link in (self.consuming, self.publishing):
                link.sever()

    def heal(self) -> None:
        if self.consuming.cut:
            self.cluster.disturbed(TAKEN_OVER_S)
            for link in (self.consuming, self.publishing):
                link.heal()


ACTIONS = ("join", "leave", "kill", "cut", "heal", "slow", "quick")
_EVENTS = st.tuples(
    st.floats(0.0, 30.0), st.sampled_from(ACTIONS), st.integers(0, 3), st.integers(0, 40)
)
_LIVES = int(os.environ.get("BAROGRAPH_LIVES", "40"))


def _happen(cluster: Cluster, action: str, number: int) -> None:
    living = [replica for replica in cluster.replicas if replica.alive]
    if action == "join" or not living:
        if len(living) < 5:
            cluster.join()
        return
    replica = living[number % len(living)]
    if action == "leave":
        replica.leave()
        cluster.world.after(20.0, replica.end)
    elif action in ("slow", "quick"):
        replica.pace_s = 8.0 if action == "slow" else 0.01
    else:
        getattr(replica, action)()


@settings(
    max_examples=_LIVES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@example([(5, "slow", 0, 0), (1, "join", 0, 40), (9, "join", 0, 40)], 1)
@example([(5, "slow", 0, 40), (16, "cut", 0, 40), (1, "join", 0, 0), (44, "heal", 0, 0)], 3)
@example([(5, "slow", 0, 40), (29, "cut", 0, 40), (1, "join", 0, 0), (37, "heal", 0, 0)], 6)
@example([(5, "join", 0, 0), (9, "cut", 1, 40), (30, "kill", 1, 40), (30, "leave", 0, 9)], 3)
@example([(30, "cut", 0, 0), (45, "leave", 0, 0), (1, "heal", 0, 0)], 1)
@given(st.lists(_EVENTS, max_size=12), st.integers(0, 2**16))
def test_every_batch_is_worked_on_once_and_in_order_whatever_becomes_of_the_replicas(
    events: Sequence[tuple[float, str, int, int]], seed: int
) -> None:
    cluster = Cluster(seed)
    cluster.join()
    sent = 0
    for wait_s, action, number, batches in events:
        cluster.world.run(wait_s)
        for _ in range(batches):
            cluster.broker.publish_batch(sent % PARTITIONS, b"batch %d" % sent)
            sent += 1
        _happen(cluster, action, number)

    for replica in cluster.replicas:
        replica.heal()
        replica.pace_s = 0.01
    cluster.join()
    cluster.world.run(200.0)
    assert cluster.verdicts == cluster.undisturbed, "lost, doubled, or of another state"

    working = [replica for replica in cluster.replicas if replica.able]
    loads = [sum(owner.owned for owner in replica.owners) for replica in working]
    assert sum(loads) == PARTITIONS
    assert max(loads) - min(loads) <= 1
    for replica in working:
        replica.kill()
