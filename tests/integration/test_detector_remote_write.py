"""Debian's Prometheus and node_exporter write into the gateway; an anomaly comes out."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from services.detector.main import Detector
from services.detector.settings import EngineSettings, Settings
from shared.embedded.process import free_ports
from shared.samples import decode
from tests.brokers import BrokerUnderTest
from tests.detectors import started
from tests.waiting import eventually

_ENGINE = EngineSettings.model_validate(
    {
        "combination": {"mode": "branch"},
        "detectors": {
            "short_term": {"window_points": 60, "blocks": 6, "min_points": 10},
            "long_term": {"min_points": 10, "settle": 5},
        },
        "tolerated_gap": 5,
        "startup_s": 0,
    }
)
_CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{exporter}"], labels: {{host: machine1}}}}]
remote_write:
  - url: {url}/api/v1/write
    queue_config: {{batch_send_deadline: 300ms, max_shards: 1}}
"""


class _Tap:
    """Everything that arrives in the streams and on ``alerts``, through a connection of its own."""

    def __init__(self, url: str, partitions: int) -> None:
        self.items: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._partitions = partitions
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        channel = self._connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "from.detector", "anomaly.#")
        channel.basic_consume(queue, self._event, auto_ack=True)
        channel.basic_qos(prefetch_count=100)
        for number in range(self._partitions):
            channel.basic_consume(
                f"metrics.{number}", self._samples, arguments={"x-stream-offset": "first"}
            )
        self._thread.start()

    def _event(self, _c: Any, _m: Any, _p: Any, body: bytes) -> None:
        self.events.append(json.loads(body))

    def _samples(self, channel: Any, method: Any, _p: Any, body: bytes) -> None:
        batch = decode(body)
        self.items.update(batch.items[code] for code in batch.item_code)
        channel.basic_ack(method.delivery_tag)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._connection.process_data_events(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _start(stack: ExitStack, directory: Path, *command: str) -> None:
    log = stack.enter_context((directory / f"{Path(command[0]).name}.log").open("wb"))
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    stack.callback(process.wait)
    stack.callback(process.kill)


def _detector(stack: ExitStack, broker: BrokerUnderTest, directory: Path) -> Detector:
    settings = Settings(
        broker_url=broker.url("detector"),
        state_dir=directory / "state",
        engine=_ENGINE,
        heartbeat_s=1,
        snapshot_every_s=1,
    )
    return started(stack, settings)


def test_an_anomaly_in_a_scraped_series_is_published(
    broker: BrokerUnderTest, tmp_path: Path, running: ExitStack
) -> None:
    prometheus, exporter = shutil.which("prometheus"), shutil.which("prometheus-node-exporter")
    assert prometheus, "install prometheus"
    assert exporter, "install prometheus-node-exporter"
    detector = _detector(running, broker, tmp_path)
    eventually(lambda: _declared(broker.url()), "the streams are declared")
    tap = _Tap(broker.url(), 4)
    tap.start()
    running.callback(tap.stop)
    textfile = tmp_path / "textfile"
    textfile.mkdir()
    _write(textfile, 50.0)
    exporter_port, web_port = free_ports(2)
    _start(
        running,
        tmp_path,
        exporter,
        f"--web.listen-address=127.0.0.1:{exporter_port}",
        # The others took it longer on a busy machine than a scrape may last.
        "--collector.disable-defaults",
        "--collector.loadavg",
        "--collector.textfile",
        f"--collector.textfile.directory={textfile}",
    )
    config = tmp_path / "prometheus.yml"
    config.write_text(_CONFIG.format(exporter=exporter_port, url=detector.gateway.url))
    _start(
        running,
        tmp_path,
        prometheus,
        f"--config.file={config}",
        f"--web.listen-address=127.0.0.1:{web_port}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
    )
    eventually(
        lambda: tap.items["node_load1"] and tap.items["demo_queue_length"],
        "samples in the streams",
    )
    eventually(lambda: tap.items["demo_queue_length"] >= 25, "enough samples to learn from")
    assert not [e for e in tap.events if e["series"]["item"] == "demo_queue_length"]
    _write(textfile, 500.0)
    eventually(
        lambda: any(e["series"]["item"] == "demo_queue_length" for e in tap.events),
        "the anomaly on alerts",
    )
    event = next(e for e in tap.events if e["series"]["item"] == "demo_queue_length")
    assert (event["series"]["host"], event["direction"], event["value"]) == (
        "machine1",
        "spike",
        500.0,
    )
    assert {vote["detector"] for vote in event["votes"]} >= {"short_term", "long_term", "chain"}
    assert "500" in event["sentence"]
    assert len(event["recent"]) > 10


def _declared(url: str) -> bool:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        try:
            connection.channel().queue_declare("metrics.3", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
    return True


def _write(directory: Path, value: float) -> None:
    partial = directory / "demo.tmp"
    partial.write_text(f"demo_queue_length {value}\n")
    partial.replace(directory / "demo.prom")
