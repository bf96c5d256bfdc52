"""The canary: its alarm comes and goes, nobody is told, and the switch is pinged."""

from __future__ import annotations

from typing import Any

import pytest

from services.healer.incidents.canary import SERIES
from services.healer.model.notification import DELIVERIES
from services.healer.notify.channels.deadman import Deadman
from shared.contracts import AlertChanged, AnomalyDetected, MetricBatch, Vote
from shared.contracts.alerts import SeriesRef
from shared.contracts.message import deterministic_id
from shared.observe import CANARY_ROUNDS
from shared.service import Context
from tests.unit.healer.test_alerting import over
from tests.unit.healer.test_incidents import Desk, anomaly


class Cage:
    """A healer with a canary; the detector is played by the test."""

    def __init__(self) -> None:
        switch = Deadman.model_validate({"name": "switch", "url": "http://switch/ping"})
        self.desk = Desk(channels=(switch,), canary_every_s=60)

    def sample(self, later_s: float = 5) -> float:
        self.desk.later(later_s)
        with self.desk.store.transaction() as records:
            batch = self.desk.handlers.canary.step(Context(self.desk.now, "", 1, records))
        assert isinstance(batch, MetricBatch)
        assert batch.host == SERIES.host
        return batch.samples[0].value

    def pings(self) -> int:
        with self.desk.store.transaction() as records:
            channels = [d.channel for d in records.find(DELIVERIES)]
        assert set(channels) <= {"switch"}
        return len(channels)


def alarm(number: int, series: SeriesRef = SERIES, detector: str = "threshold") -> AnomalyDetected:
    vote = Vote(detector=detector, judged=True, anomalous=True)
    event = deterministic_id("canary", number, detector, series.item)
    found = anomaly(series)
    return found.model_copy(update={"event_id": event, "votes": (vote,)})


def test_round_after_round_pings_the_switch_and_tells_nobody() -> None:
    cage = Cage()
    for number in range(3):
        assert cage.sample(60) == 1
        (raised,) = cage.desk.take(alarm(number))
        assert isinstance(raised, AlertChanged)
        assert raised.routing_key() == "alert.firing.info.disk.barograph-canary"
        assert cage.sample() == 0
        cage.desk.take(over(alarm(number), value=0))
        assert cage.sample() == 0
        assert cage.pings() == number + 1


def test_a_round_that_is_not_seen_fails_and_the_next_one_begins() -> None:
    cage = Cage()
    failed = CANARY_ROUNDS.labels("failed")._value.get()
    values = [cage.sample(30) for _ in range(12)]
    assert values[0] == 1
    assert CANARY_ROUNDS.labels("failed")._value.get() > failed
    assert cage.pings() == 0


@pytest.mark.parametrize(
    "other", [alarm(1, detector="short_term"), alarm(1, SeriesRef(host=SERIES.host, item="x"))]
)
def test_what_others_think_of_the_canary_is_not_heard(other: Any) -> None:
    assert Cage().desk.take(other) == []
