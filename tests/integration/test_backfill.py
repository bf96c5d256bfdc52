"""A real Prometheus' history: a series is judged by it from its first live sample on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pika
import pytest

from services.detector.main import Detector
from services.detector.settings import Settings
from shared.embedded.process import free_ports
from tests.brokers import BrokerUnderTest
from tests.detectors import started
from tests.remote_write import V1, compressed, request_1
from tests.waiting import eventually

_STEP_S, _POINTS = 300, 2304  # Eight days: a week settles a series.


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _prometheus(stack: ExitStack, directory: Path, now: int) -> str:
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    assert prometheus, "install prometheus"
    assert promtool, "install prometheus"
    lines = ["# TYPE demo_queue gauge"]
    for at in range(_POINTS):
        moment = now - (_POINTS - at) * _STEP_S
        for host in ("m1", "m2"):
            value = 100 + at * 7919 % 13 / 13
            lines.append(f'demo_queue{{instance="{host}:9100",job="node"}} {value} {moment}')
    history = directory / "history.om"
    history.write_text("\n".join([*lines, "# EOF", ""]))
    blocks = directory / "tsdb"
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(history), str(blocks)]
    subprocess.run(command, check=True, capture_output=True)
    config = directory / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1m}\n")
    (port,) = free_ports(1)
    log = stack.enter_context((directory / "prometheus.log").open("wb"))
    process = subprocess.Popen(
        [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={blocks}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=log,
        cwd=directory,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    address = f"http://127.0.0.1:{port}"
    eventually(lambda: _ready(f"{address}/-/ready"), "Prometheus ready")
    return address


def _ready(address: str) -> bool:
    try:
        return httpx.get(address, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def _detector(stack: ExitStack, broker: BrokerUnderTest, directory: Path) -> Detector:
    settings = Settings(
        broker_url=broker.url("detector"),
        state_dir=directory / "state",
        heartbeat_s=1,
        snapshot_every_s=1,
    )
    return started(stack, settings)


def test_a_series_with_a_past_is_judged_at_its_first_live_sample(
    broker: BrokerUnderTest, tmp_path: Path, running: ExitStack
) -> None:
    now = int(time.time())
    source = _prometheus(running, tmp_path, now)
    gateway = _detector(running, broker, tmp_path).gateway.url
    connection = running.enter_context(pika.BlockingConnection(pika.URLParameters(broker.url())))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "from.detector", "anomaly.#")

    common = ["--prometheus", source, "--gateway", gateway, "--days", "8.1", "--step", "300"]
    result = _backfill('demo_queue{job="node"}', *common, "--hours", "5")
    assert result.returncode == 0, result.stderr
    samples, _, rest = result.stdout.partition(" samples of 2 series sent")
    assert rest, result.stdout
    assert int(samples.replace(",", "")) >= 2 * _POINTS

    wrong = _backfill("demo_queue{", *common)
    assert wrong.returncode == 2
    assert "refused 'demo_queue{'" in wrong.stderr
    unnamed = _backfill("sum(demo_queue)", *common)
    assert unnamed.returncode == 2
    assert "without a name" in unnamed.stderr

    labels = {"__name__": "demo_queue", "instance": "m1:9100", "job": "node"}
    live = compressed(request_1((labels, [(int(time.time() * 1000), 900.0)])))
    headers = {"Content-Type": V1, "Content-Encoding": "snappy"}
    assert httpx.post(
        f"{gateway}/api/v1/write", content=live, headers=headers, timeout=60
    ).is_success
    _, _, body = eventually(
        lambda: (got := channel.basic_get(queue, auto_ack=True))[0] and got, "the anomaly", 60
    )
    event = json.loads(body)
    assert (event["series"]["host"], event["value"]) == ("m1", 900.0)
    assert event["stage"] == "own"


def _backfill(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A process of its own: the detector's threads write to this one's output.
    command = [sys.executable, "-m", "shared.cli", "backfill", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
