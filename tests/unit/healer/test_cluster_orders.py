"""Orders that the healer carries out itself: done once, whichever replica dies when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.healer.actions import audit
from services.healer.actions.audit import StoreBook
from services.healer.actions.cluster_executor import ClusterOrders, StoreEnvelope
from services.healer.agent.remediate import Remediator
from services.healer.model.action import CLUSTER_ORDERS, LEASES, Lease
from services.healer.remediations import Remediation, Step, StepFailed
from services.healer.remediations.audit import verify_lines
from services.healer.remediations.restart_pod import RestartPod
from shared.cluster import Object
from shared.contracts import Message, SeriesRef
from tests.unit.healer.test_acting import Desk, changes, stop
from tests.unit.healer.test_incidents import NOW, anomaly

POD = SeriesRef(host="kube", item="kube.pod.restarts", labels={"namespace": "shop", "pod": "web-1"})
POLICY = {"rules": [{"namespaces": "shop", "level": "automatic", "remediation": "restart-pod"}]}


class Pods(RestartPod):
    """The pod of a StatefulSet, which comes back under its name; counts evictions."""

    def look(self, series: SeriesRef) -> Object:
        owner = {"kind": "StatefulSet", "controller": True}
        return {
            "metadata": {
                "name": "web-1",
                "namespace": "shop",
                "uid": WORLD["uid"],
                "ownerReferences": [owner],
            }
        }

    def perform(self, step: Step) -> None:
        if WORLD["uid"] != step.identity:
            return
        WORLD["deleted"] = int(WORLD["deleted"]) + 1
        WORLD["uid"] = f"new-{WORLD['deleted']}"
        if WORLD["dies"]:
            raise KilledError

    def happened(self, step: Step) -> bool:
        if WORLD["silent"]:
            raise StepFailed("the API server would not say")
        return WORLD["uid"] != step.identity


class KilledError(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


WORLD: dict[str, Any] = {}


class Replicas:
    def __init__(self) -> None:
        WORLD.update(uid="old", deleted=0, dies=False, silent=False)
        self.desk = Desk(POLICY)
        self.sent: list[Message] = []

    @contextmanager
    def unit(self) -> Iterator[Any]:
        with self.desk.store.transaction() as records:
            sent = self.sent

            class Unit:
                def __init__(self) -> None:
                    self.records = records

                def emit(self, *messages: Message) -> None:
                    sent.extend(messages)

            yield Unit()

    def replica(self, name: str) -> ClusterOrders:
        def clock() -> datetime:
            return self.desk.now

        remedies: dict[str, Remediation] = {"restart-pod": Pods(namespaces=("shop",))}
        book = StoreBook(self.desk.store.transaction, clock)
        remediator = Remediator(remedies, book, clock, StoreEnvelope(self.unit))
        return ClusterOrders(
            self.unit, remediator, self.desk.handlers.remediation_executed, name, clock
        )

    def fire(self) -> None:
        self.sent += self.desk.take(anomaly(POD))

    def orders(self) -> list[Any]:
        with self.desk.store.transaction() as records:
            return records.find(CLUSTER_ORDERS)


@pytest.fixture
def replicas() -> Replicas:
    return Replicas()


def test_an_order_is_done_once_and_answered_in_the_incidents_course(replicas: Replicas) -> None:
    replicas.fire()
    replicas.replica("a").run()
    replicas.replica("b").run()
    assert WORLD["deleted"] == 1
    assert changes(replicas.sent) == ["running", "verifying"]
    assert [order.status for order in replicas.orders()] == ["answered"]


def test_a_healer_killed_between_doing_and_recording_repeats_nothing(replicas: Replicas) -> None:
    replicas.fire()
    WORLD["dies"] = True
    with pytest.raises(KilledError):
        replicas.replica("a").run()
    WORLD["dies"] = False
    replicas.replica("b").run()
    assert changes(replicas.sent) == ["running"], "the other's claim still holds"
    replicas.desk.now += timedelta(minutes=3)
    replicas.replica("b").run()
    assert WORLD["deleted"] == 1
    assert changes(replicas.sent) == ["running", "verifying"]
    with replicas.desk.store.transaction() as records:
        lines = list(audit.lines(records))
    assert verify_lines(lines) == []
    assert sum(b'"event": "intend"' in line for line in lines) == 1
    assert sum(b'"event": "done"' in line for line in lines) == 1


def test_an_order_of_which_it_is_not_known_whether_it_was_done_is_given_up_and_not_repeated(
    replicas: Replicas,
) -> None:
    replicas.fire()
    WORLD["dies"] = True
    with pytest.raises(KilledError):
        replicas.replica("a").run()
    WORLD.update(dies=False, silent=True)
    for _ in range(4):
        replicas.desk.now += timedelta(minutes=3)
        with suppress(StepFailed):
            replicas.replica("b").run()
    assert [order.status for order in replicas.orders()] == ["answered"]
    assert WORLD["deleted"] == 1


def test_the_kill_switch_and_a_newer_lease_forbid_an_order_that_waits(replicas: Replicas) -> None:
    replicas.fire()
    replicas.desk.take(stop("kube"))
    replicas.replica("a").run()
    assert WORLD["deleted"] == 0
    assert changes(replicas.sent) == ["running", "failed"]
    fenced = Replicas()
    fenced.fire()
    with fenced.desk.store.transaction() as records:
        newer = Lease(target="shop/pod/web-1", action_id="x", host="kube", fence=9, until=NOW)
        records.put(LEASES, newer)
    fenced.replica("a").run()
    assert WORLD["deleted"] == 0
