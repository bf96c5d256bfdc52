"""Samples of a filling disk in the real streams; the prediction comes before the threshold."""

from __future__ import annotations

import json
from pathlib import Path

import pika

from services.predictor.main import make_service
from services.predictor.settings import EngineSettings, Settings
from shared.messaging import Bus
from shared.samples import encode, from_rows
from tests.brokers import BrokerUnderTest
from tests.waiting import eventually

_ENGINE = EngineSettings(resolution_s=1, forecasters={"arima": {"max_p": 1, "max_q": 1}})
_DISK = "df.bytes.used.percent"


def test_a_filling_disk_in_the_streams_is_predicted_before_it_is_full(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    settings = Settings(
        broker_url=broker.url("predictor"), state_dir=tmp_path, engine=_ENGINE, snapshot_every_s=1
    )
    service = make_service(settings)
    service.start()
    source = Bus(broker.url("detector"), "detector", instance="filling")
    source.start()
    try:
        service.bus.wait_ready()
        source.wait_ready()
        with pika.BlockingConnection(pika.URLParameters(broker.url())) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, "from.predictor", "alarm.predicted")
            for step in range(45):
                rows = [("filling", _DISK, "", step * 1000, 30.0 + step + 0.1 * (step % 3))]
                source.publish_partitions([(1, encode(from_rows(rows)), f"filling-{step}")])
            event = _one(channel, queue)
    finally:
        source.stop()
        service.stop()
    assert event["series"]["host"] == "filling"
    assert event["value"] < event["threshold"] == 90
    assert abs(event["crossing_ms"] - 60_000) < 5_000
    assert event["time_ms"] < 45_000
    assert event["why"]["choice"]


def _one(channel: pika.channel.Channel, queue: str) -> dict:
    def predicted() -> dict:
        _, _, body = channel.basic_get(queue, auto_ack=True)
        event = json.loads(body) if body else {}
        return event if event and event["series"]["host"] == "filling" else {}

    return eventually(predicted, "alarm.predicted")
