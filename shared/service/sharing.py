"""Distributes the partitions of a service among its live replicas."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from shared.messaging.link import Link
from shared.messaging.membership import Membership
from shared.observe import PARTITION_UNOWNED, PARTITIONS_OWNED, REPLICAS_ALIVE
from shared.service.partitions import PartitionOwner
from shared.service.shares import shares

UNOWNED_LIMIT_S = 60.0
"""A partition of this replica's share without an owner for this time makes it not ready.

A dead process' lock is free at once and its share moves after `FORGET_S`; the lock of a machine
that vanished is freed by the broker after two of its connection's heartbeats, 40 s.
"""


class Sharing:
    """Takes this replica's share, and gives up partitions that have become another's.

    Shares follow from the names of the living replicas alone, so replicas that hear each other
    agree without asking. While they do not yet agree, the lock decides: a partition is taken only
    when its owner has released it.
    """

    def __init__(
        self,
        link: Link,
        membership: Membership,
        owners: Sequence[PartitionOwner],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._membership = membership
        self._owners = owners
        self._clock = clock
        self._since: dict[int, float] = {}
        self._at_rest = threading.Condition()
        self._left = False
        """True if a review has found that this replica leaves: no partition is taken any more."""
        membership.holds = lambda: [owner.partition for owner in owners if owner.owned]
        membership.changed = self._review
        membership.lost = self._lost
        for owner in owners:
            owner.changed = self._changed

    def leave(self, timeout_s: float) -> None:
        """Hand everything over; returns when that is done, or the time is up."""
        # At once, and not by the link: without a connection that would forget it, and the next
        # one would bring this replica its share again.
        self._membership.leave()
        self._link.call(self._review)
        with self._at_rest:
            self._at_rest.wait_for(self._is_over, timeout_s)

    def _is_over(self) -> bool:
        known = self._left or not self._link.up
        return known and all(owner.idle for owner in self._owners)

    def show(self) -> None:
        """Export this replica's partitions, their lag, and partitions without an owner."""
        PARTITIONS_OWNED.set(sum(owner.owned for owner in self._owners))
        REPLICAS_ALIVE.set(len(self._membership.alive))
        now = self._clock()
        for owner in self._owners:
            since = self._since.get(owner.partition, now)
            PARTITION_UNOWNED.labels(str(owner.partition)).set(now - since)
            owner.show_lag()

    def wrong(self) -> dict[str, str]:
        """The reasons why partitions of this replica's share are not being worked, by name."""
        found = {"replicas": self._membership.error} if self._membership.error else {}
        now = self._clock()
        for partition, since in list(self._since.items()):
            if now - since > UNOWNED_LIMIT_S:
                why = self._owners[partition].consumer.last_close or "-"
                found[f"partition {partition}"] = (
                    f"it has had no owner for {now - since:.0f} s: {why}"
                )
        for owner in self._owners:
            if owner.owned and owner.restore_error:
                found[f"partition {owner.partition}"] = f"not restored: {owner.restore_error}"
        return found

    def _review(self) -> None:
        """Compare this replica's partitions with its share; repeatedly, in the link's thread."""
        leaves = self._membership.leaving
        self._share()
        if leaves and not self._left:
            self._left = True
            self._rest()

    def _share(self) -> None:
        membership = self._membership
        if not membership.settled:
            return
        share = shares(len(self._owners), membership.alive)
        held_elsewhere = membership.held_elsewhere
        for owner in self._owners:
            mine = share.get(owner.partition) == membership.own
            if not mine:
                owner.give_up()
            elif owner.partition not in held_elsewhere:
                owner.take()
            waits = mine and not owner.owned and owner.partition not in held_elsewhere
            if waits:
                self._since.setdefault(owner.partition, self._clock())
            else:
                self._since.pop(owner.partition, None)

    def _lost(self) -> None:
        for owner in self._owners:
            owner.lost()
        self._since.clear()
        self._rest()

    def _changed(self) -> None:
        # The next owner waits for nothing but this.
        self._membership.beat()
        self._review()
        self._rest()

    def _rest(self) -> None:
        with self._at_rest:
            self._at_rest.notify_all()
