"""A gateway and a judge apart say of the same samples what one process in both roles says."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import cramjam
import httpx
import pika
from pydantic import SecretStr

from services.detector.main import Detector
from services.detector.settings import EngineSettings, Settings
from tests.brokers import BrokerUnderTest
from tests.remote_write import request_1
from tests.waiting import eventually

Role = Literal["gateway", "judge"]
_MACHINES, _STEPS, _STEP_MS = 4, 60, 5_000
_SPIKES = (30, 45, 59)
_ENGINE = EngineSettings(alarm_confirm_s=0, alarm_clear_s=0, startup_s=0)


def _value(machine: int, step: int) -> float:
    """Percent of memory: above the alarm's threshold for a point, and the last one for all."""
    high = step in _SPIKES and (machine != 1 or step == _STEPS - 1)
    return 99.0 if high else 10.0 + (step * 7 + machine) % 5


def _detector(
    stack: ExitStack, broker: BrokerUnderTest, state: Path, instance: str, *roles: Role
) -> Detector:
    settings = Settings(
        broker_url=SecretStr(broker.url("detector")),
        state_dir=state,
        instance=instance,
        roles=roles,
        engine=_ENGINE,
    )
    detector = Detector(settings)
    detector.service.start()
    stack.callback(detector.service.stop)
    detector.service.bus.wait_ready()
    return detector


def _send(detector: Detector, kind: str, last_ms: int) -> None:
    for step in range(_STEPS):
        at = last_ms - (_STEPS - 1 - step) * _STEP_MS
        series = [
            ({"__name__": "mem.memused.percent", "host": f"{kind}{m}"}, [(at, _value(m, step))])
            for m in range(_MACHINES)
        ]
        body = bytes(cramjam.snappy.compress_raw(request_1(*series)))
        answer = httpx.post(f"{detector.gateway.url}/api/v1/write", content=body, timeout=60)
        assert answer.status_code == 204, answer.text


def _verdicts(
    broker: BrokerUnderTest, state: Path, last_ms: int, kind: str, *processes: tuple[Role, ...]
) -> list[tuple[Any, ...]]:
    """Return what is said of ``kind``'s machines until the last spike of each is told."""
    found: list[tuple[Any, ...]] = []
    with ExitStack() as stack:
        running = [
            _detector(stack, broker, state, f"{kind}-{number}", *roles)
            for number, roles in enumerate(processes)
        ]
        link = stack.enter_context(pika.BlockingConnection(pika.URLParameters(broker.url())))
        channel = link.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "from.detector", "anomaly.#")
        _send(running[0], kind, last_ms)

        def heard_all() -> bool:
            while (body := channel.basic_get(queue, auto_ack=True)[2]) is not None:
                event = json.loads(body)
                host = event["series"]["host"]
                if host.startswith(kind):
                    told = (event.get(name) for name in ("value", "direction", "family", "votes"))
                    found.append((host.removeprefix(kind), event["time_ms"] - last_ms, *told))
            return len({each[0] for each in found if each[1] == 0}) == _MACHINES

        eventually(heard_all, "the verdict on each machine's last spike")
    return sorted(found, key=str)


def test_roles_apart_say_what_one_process_in_both_says(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    last_ms = time.time_ns() // 1_000_000
    together = _verdicts(broker, tmp_path / "t", last_ms, "together", ("gateway", "judge"))
    apart = _verdicts(broker, tmp_path / "a", last_ms, "apart", ("gateway",), ("judge",))

    assert apart == together
    # Three machines go up and down twice, and all four up at the end.
    assert len(together) == 3 * 4 + 4


def test_a_gateway_marks_no_time_before_its_streams_are_there(tmp_path: Path) -> None:
    nobody = SecretStr("amqp://detector:none@127.0.0.1:1/%2F")
    detector = Detector(Settings(broker_url=nobody, state_dir=tmp_path, roles=("gateway",)))

    detector._beat()  # else it waits for a confirm, and fails

    assert not detector.service.bus.ready
