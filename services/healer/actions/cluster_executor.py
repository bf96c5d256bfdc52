"""Remediations through the Kubernetes API, which the healer itself executes.

An order is written in the transaction that decides it. A replica claims it, does it, and answers
in one transaction with what follows; killed in between, it is claimed again after a while, and
what was done is known from the audit and from the objects, and not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from services.healer.agent.records import Command
from services.healer.agent.remediate import Remediator
from services.healer.model.action import CLUSTER_ORDERS, LEASES, ClusterOrder, stopped
from shared.changes import with_changes
from shared.contracts import Message, RemediationExecute, RemediationExecuted
from shared.service import Context, ServiceUnit

_CLAIM = timedelta(minutes=2)
_KEPT = timedelta(days=8)

Units = Callable[[], AbstractContextManager[ServiceUnit]]
Answered = Callable[[RemediationExecuted, Context], Iterable[Message]]
"""The effects of an answer, as if a node agent had sent it."""


class StoreEnvelope:
    """The kill switch and fences from the healer's records."""

    def __init__(self, unit: Units) -> None:
        self._unit = unit

    def stopped(self, host: str) -> str:
        """Return who stopped healing on this machine, and why; empty if nobody did."""
        with self._unit() as unit:
            return stopped(unit.records, host)

    def late(self, target: str, fence: int) -> bool:
        """Return whether the target has been leased again since."""
        with self._unit() as unit:
            lease = unit.records.get(LEASES, target)
        return bool(fence) and lease is not None and fence < lease.fence


class ClusterOrders:
    """Executes the ordered commands, oldest first, one at a time per replica."""

    def __init__(
        self,
        unit: Units,
        remediator: Remediator,
        answered: Answered,
        instance: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._unit = unit
        self._remediator = remediator
        self._answered = answered
        self._instance = instance
        self._clock = clock

    def run(self) -> None:
        """Execute all pending commands, and delete old answers."""
        while (order := self._claim()) is not None:
            command = Command(
                command_id=order.command_id,
                type=RemediationExecute.TYPE,
                body=order.order.model_dump_json(),
                attempts=order.attempts,
            )
            answer = self._remediator.perform(command)
            with self._unit() as unit:
                now = unit.records.get(CLUSTER_ORDERS, order.command_id)
                if now is None or now.status == "answered":
                    continue  # another replica was faster
                done = {"status": "answered", "due": self._clock() + _KEPT}
                unit.records.put(CLUSTER_ORDERS, with_changes(now, **done))
                ctx = Context(self._clock(), "", 1, unit.records)
                unit.emit(*self._answered(answer, ctx))
        self._forget()

    def _claim(self) -> ClusterOrder | None:
        now = self._clock()
        with self._unit() as unit:
            for order in unit.records.find(CLUSTER_ORDERS, status="pending"):
                free = order.claimed_until is None or order.claimed_until <= now
                if not free and order.claimed_by != self._instance:
                    continue
                claimed = with_changes(
                    order,
                    attempts=order.attempts + 1,
                    claimed_by=self._instance,
                    claimed_until=now + _CLAIM,
                )
                unit.records.put(CLUSTER_ORDERS, claimed)
                return claimed
        return None

    def _forget(self) -> None:
        with self._unit() as unit:
            for order in unit.records.find(CLUSTER_ORDERS, due_before=self._clock()):
                unit.records.delete(CLUSTER_ORDERS, order.command_id)
