"""Replicas that die, stop for a while and lose their database: never do two of them act at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.service.leadership import TERM_S, Leadership, Role
from shared.store import Lease, NotLeader, StoreUnavailable

REPLICAS = st.integers(0, 2)


class World:
    """One row, one clock, and what each replica may do to the row."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lease = Lease("", 0, 0)
        self.unreachable: set[str] = set()


@dataclass
class Row:
    """The row as one holder sees it."""

    world: World
    holder: str

    def _reach(self) -> None:
        if self.holder in self.world.unreachable:
            raise StoreUnavailable("no way to the database")

    def look(self) -> Lease:
        self._reach()
        return self.world.lease

    def renew(self, term: int) -> bool:
        self._reach()
        lease = self.world.lease
        if (lease.holder, lease.term) != (self.holder, term):
            return False
        self.world.lease = replace(lease, beat=lease.beat + 1)
        return True

    def take(self, seen: Lease) -> int | None:
        self._reach()
        if self.world.lease != seen:
            return None
        self.world.lease = Lease(self.holder, seen.term + 1, seen.beat + 1)
        return seen.term + 1

    def release(self) -> None:
        self._reach()
        if self.world.lease.holder == self.holder:
            self.world.lease = replace(self.world.lease, holder="")


class Replicas(RuleBasedStateMachine):
    """Three processes; one that ends, or is deposed, begins anew under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.made = 0
        self.stopped: set[int] = set()
        self.replicas = [self._begun(number) for number in range(3)]

    def _begun(self, number: int) -> Leadership:
        self.made += 1
        row = Row(self.world, f"replica-{number}-{self.made}")
        return Leadership(row, lambda: None, lambda: None, clock=lambda: self.world.now)

    @rule(number=REPLICAS)
    def steps(self, number: int) -> None:
        if number in self.stopped:
            return
        try:
            self.replicas[number].step()
        except StoreUnavailable:
            return
        if self.replicas[number].role is Role.DEPOSED:
            self.replicas[number] = self._begun(number)

    @rule(seconds=st.sampled_from([0.1, 1.0, TERM_S / 2, TERM_S, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(number=REPLICAS)
    def is_killed(self, number: int) -> None:
        self.stopped.discard(number)
        self.replicas[number] = self._begun(number)

    @rule(number=REPLICAS)
    def is_stopped(self, number: int) -> None:
        self.stopped.add(number)

    @rule(number=REPLICAS)
    def goes_on(self, number: int) -> None:
        self.stopped.discard(number)

    @rule(number=REPLICAS)
    def leaves(self, number: int) -> None:
        self.replicas[number].release()
        self.replicas[number] = self._begun(number)

    @rule(number=REPLICAS, cut=st.booleans())
    def loses_or_finds_the_database(self, number: int, cut: bool) -> None:
        row = self.replicas[number]._row
        assert isinstance(row, Row)
        (self.world.unreachable.add if cut else self.world.unreachable.discard)(row.holder)

    @invariant()
    def at_most_one_may_act(self) -> None:
        acting = []
        for replica in self.replicas:
            try:
                replica.require()
            except NotLeader:
                continue
            acting.append(replica)
        assert len(acting) <= 1


Replicas.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestReplicas = Replicas.TestCase
