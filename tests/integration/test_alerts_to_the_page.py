"""What detector, predictor and healer publish on a real broker is what the client's pages show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from shared.contracts import Message
from shared.messaging import Bus
from shared.topology import Principal
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.doors import job_door
from tests.unit.client.alerts.events import (
    ALERT,
    action,
    anomaly,
    changed,
    cleared,
    predicted,
    verified,
    withdrawn,
)


def publish(broker: BrokerUnderTest, principal: Principal, *messages: Message) -> None:
    bus = Bus(broker.url(principal), principal)
    bus.start()
    try:
        bus.wait_ready(60)
        bus.publish(messages)
    finally:
        bus.stop()


def test_an_incident_that_three_services_tell_of_is_one_story_on_its_page(
    broker: BrokerUnderTest, object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    with (
        job_door(broker, object_store, tmp_path) as door,
        httpx.Client(base_url=door.url, timeout=60, trust_env=False) as http,
    ):

        def shows(path: str, *wanted: str) -> Callable[[], bool]:
            return lambda: all(words in http.get(path).text for words in wanted)

        publish(broker, Principal.PREDICTOR, predicted())
        door.platform.until(shows("/forecasts", "df.bytes.used.percent"), "the forecast")
        publish(broker, Principal.DETECTOR, anomaly())
        publish(broker, Principal.HEALER, changed(1, "firing"), action(1, "running"), verified())
        incident = f"/alerts/{ALERT}"
        story = ("predicted", "anomaly", "firing critical", "action running", "it helped")
        door.platform.until(shows(incident, *story), "the story so far")
        publish(broker, Principal.DETECTOR, cleared())
        publish(broker, Principal.PREDICTOR, withdrawn())
        publish(broker, Principal.HEALER, changed(2, "resolved", outcome="the disk was cleaned"))
        door.platform.until(shows(incident, "the disk was cleaned", "averted"), "the end")
        assert "No alarm is predicted" in http.get("/forecasts").text
        assert ALERT in http.get("/alerts?state=resolved").text
        assert ALERT not in http.get("/alerts?state=open").text
