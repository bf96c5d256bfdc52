"""Samples that flow into an installation, and the alerts that follow from them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import defaultdict
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import cramjam
import numpy as np
import pika
from pika.exceptions import AMQPError

from bench.path_sender import block
from tests.cluster.node.from_outside import address_of, secret_of
from tests.cluster.node.release import Release
from tests.remote_write import request_1
from tests.waiting import eventually

MACHINES = 40
"""Each crosses its threshold once, one after the other."""
_FILLER = 4000
"""Further series with a sample a second."""
_EVERY_S, _HIGH_S = 4, 25
_ITEM, _FULL, _FREE = "mem.memused.percent", 99.0, 10.0
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


class Traffic:
    """Sends each second's samples to the gateway until they are accepted, as a Prometheus does."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._token = secret_of(release, "tokens", "gateway")
        self._blocks = [block(first, 2000, False) for first in range(0, _FILLER, 2000)]
        self._noise = np.random.default_rng(1).normal(50, 5, 4000)
        self._stop, self._listening = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._listen)]
        self._begun, self._begun_ms = 0.0, 0
        self._crossing = MACHINES
        self._second = 0
        """The last one whose samples were accepted; on a busy machine it is behind the clock."""
        self._alerts: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._faults: list[str] = []
        self.samples = 0

    def __enter__(self) -> Self:
        sending, listening = self._threads
        listening.start()
        # An alert that came before the queue is there would be missed.
        self._listening.wait()
        self._begun, self._begun_ms = time.monotonic(), time.time_ns() // 1_000_000
        sending.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_alerts(self) -> int:
        """Let no further machine cross; return when each that did has had an alert and its end.

        Raises:
            AssertionError: an alert is missing, or there were two for one crossing.
        """
        self._crossing = min(MACHINES, self._second // _EVERY_S + 1)
        machines = [f"traffic{number}" for number in range(self._crossing)]

        def told() -> bool:
            assert not self._faults, self._faults
            return all({"firing", "resolved"} <= {*self._alerts[machine]} for machine in machines)

        try:
            eventually(told, "an alert of each machine, and its end", 240)
        except AssertionError as error:
            missing = {m: dict(self._alerts[m]) for m in machines if len(self._alerts[m]) < 2}
            raise AssertionError(f"{error}\n{missing}") from error
        doubled = {m: dict(self._alerts[m]) for m in machines if len(self._alerts[m]["firing"]) > 1}
        assert doubled == {}
        return len(machines)

    def _send(self) -> None:
        while not self._stop.is_set():
            second = self._second + 1
            self._stop.wait(max(0.0, second - (time.monotonic() - self._begun)))
            # Samples that were not taken in time are sent late with the time of their own second:
            # with that of the sending, a crossing of 25 s would last as long as it takes to send.
            time_ms = self._begun_ms + 1000 * second
            shift = second * 7 % 2000
            for made in self._blocks:
                self._post(made.body(time_ms, self._noise[shift:]), len(made.value_at))
            self._post(self._crossings(second, time_ms), MACHINES)
            self._second = second

    def _crossings(self, second: int, time_ms: int) -> bytes:
        def value(number: int) -> float:
            high = _EVERY_S * number <= second < _EVERY_S * number + _HIGH_S
            return _FULL if high and number < self._crossing else _FREE

        series = [
            ({"__name__": _ITEM, "host": f"traffic{number}"}, [(time_ms, value(number))])
            for number in range(MACHINES)
        ]
        return bytes(cramjam.snappy.compress_raw(request_1(*series)))

    def _post(self, body: bytes, samples: int) -> None:
        while not self._stop.is_set():
            status = self._status(body)
            if status == HTTPStatus.NO_CONTENT:
                self.samples += samples
                return
            if status < HTTPStatus.TOO_MANY_REQUESTS:
                self._faults.append(f"the gateway answered {status}")
                return
            self._stop.wait(0.5)

    def _status(self, body: bytes) -> int:
        """The gateway's answer; 503 where nobody gives one."""
        link = http.client.HTTPConnection(address_of(self._release, "gateway"), 9201, timeout=20)
        try:
            link.request(
                "POST", "/api/v1/write", body, _HEADERS | {"Authorization": f"Bearer {self._token}"}
            )
            return link.getresponse().status
        except (OSError, http.client.HTTPException):
            return HTTPStatus.SERVICE_UNAVAILABLE
        finally:
            link.close()

    def _listen(self) -> None:
        try:
            self._hear()
        except (AMQPError, OSError) as error:
            self._faults.append(f"alerts are heard no longer: {error!r}")
        finally:
            self._listening.set()

    def _hear(self) -> None:
        found = urlsplit(secret_of(self._release, "quickstart-broker", "outside"))
        place = f"{found.username}:{found.password}@{address_of(self._release, 'rabbitmq')}:5672"
        link = pika.BlockingConnection(pika.URLParameters(urlunsplit(found._replace(netloc=place))))
        channel = link.channel()
        queue = "outside.traffic"
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, "alerts", "alert.#")
        channel.basic_consume(queue, self._take, auto_ack=True)
        self._listening.set()
        while not self._stop.is_set():
            link.process_data_events(0.2)
        link.close()

    def _take(self, _channel: Any, _method: Any, _properties: Any, body: bytes) -> None:
        alert = json.loads(body)
        series = alert.get("series") or {}
        if series.get("item") == _ITEM:
            self._alerts[series["host"]][alert["state"]].add(alert["alert_id"])
