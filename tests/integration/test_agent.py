"""The node agent as a process of its own, as its own broker user, on a real broker."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pika
import pytest

from services.healer.remediations.audit import verify
from shared.contracts import Message, SeriesRef
from shared.contracts.remediation import EvidenceCollect, ItemRead, RemediationExecute
from shared.embedded.patience import Patience
from shared.embedded.process import OwnedProcess, free_ports
from tests.brokers import BrokerUnderTest
from tests.waiting import LIMIT_S, eventually

_ANSWERS = ("samples.#", "remediation.executed", "evidence.collected", "item.observed")


def begun_to_delete(logs: list[Path]) -> None:
    """Return while the agent is in the middle of deleting these."""
    eventually(
        lambda: sum(not path.exists() for path in logs[-50:]) >= 10,
        "it begins to delete",
        pause_s=0.002,
    )


class Agent:
    """One machine: its agent, its directory of logs, and a queue that gets all it says."""

    def __init__(self, broker: BrokerUnderTest, directory: Path, host: str = "") -> None:
        self.host = host or f"node-{uuid.uuid4().hex[:8]}.test"
        (self.port,) = free_ports(1)
        self.logs = directory / "volume" / "logs"
        self.logs.mkdir(parents=True)
        self.volume = self.logs.parent
        self.state = directory / "state"
        self._log = directory / "agent.log"
        self._environment = os.environ | {
            "BAROGRAPH_AGENT_BROKER_URL": broker.url("agent"),
            "BAROGRAPH_AGENT_STORE_URL": f"sqlite:///{directory / 'agent.db'}",
            "BAROGRAPH_AGENT_STATE_DIR": str(self.state),
            "BAROGRAPH_AGENT_HOST": self.host,
            "BAROGRAPH_AGENT_HEALTH_PORT": str(self.port),
            "BAROGRAPH_AGENT_INTERVAL_S": "0.5",
            "BAROGRAPH_AGENT_VOLUMES": json.dumps(
                [{"path": str(self.volume), "capacity_bytes": 1_000_000}]
            ),
            "BAROGRAPH_AGENT_CLEAN": json.dumps([{"root": str(self.logs), "min_age_s": 3600}]),
        }
        self._connection = pika.BlockingConnection(pika.URLParameters(broker.url()))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        tap = self._channel.queue_declare("", exclusive=True).method.queue
        for key in _ANSWERS:
            self._channel.queue_bind(tap, "from.agent", key)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._channel.basic_consume(tap, self._hear, auto_ack=True)
        self._process: OwnedProcess | None = None

    def start(self) -> None:
        self._process = OwnedProcess(
            [sys.executable, "-m", "services.healer.agent"], log=self._log, env=self._environment
        )

    def kill9(self) -> None:
        assert self._process is not None
        self._process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._connection.close()

    def tell(self, message: Message) -> None:
        """Publish to the agent's queue, which must be there."""
        self._channel.basic_publish(
            "from.healer",
            message.routing_key(),
            message.model_dump_json().encode(),
            pika.BasicProperties(content_type="application/json"),
            mandatory=True,
        )

    def until(self, condition: Callable[[], bool], what: str) -> None:
        patience = Patience(LIMIT_S)
        while not condition():
            if patience.is_over():
                pytest.fail(f"not in time: {what}\n{self._log.read_text()[-3000:]}")
            self._connection.process_data_events(0.05)

    def readiness(self) -> str:
        """What the agent says of its readiness; nothing before it answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=60).text
        except httpx.TransportError:
            return ""

    def volumes(self) -> set[str]:
        """The volumes that samples of its name are about: each agent watches one of its own."""
        samples = (sample for batch in self.batches() for sample in batch["samples"])
        labels = (sample["labels"].get("mount", "") for sample in samples)
        return {mount for mount in labels if mount.endswith("volume")}

    def answers(self, key: str, command_id: str) -> list[dict[str, Any]]:
        return [b for k, b in self.heard if k == key and b.get("command_id") == command_id]

    def batches(self) -> list[dict[str, Any]]:
        return [b for k, b in self.heard if k.startswith("samples.") and b["host"] == self.host]

    def series(self, item: str = "df.bytes.used.percent", **labels: str) -> SeriesRef:
        return SeriesRef(host=self.host, item=item, labels=labels)

    def clean(self, *, dry_run: bool = False, expires_in_s: float = 600) -> RemediationExecute:
        return RemediationExecute(
            command_id=str(uuid.uuid4()),
            host=self.host,
            incident_id=str(uuid.uuid4()),
            remediation="clean-logs",
            series=self.series(mount=str(self.volume)),
            dry_run=dry_run,
            expires=datetime.now(UTC) + timedelta(seconds=expires_in_s),
        )

    def old_logs(self, count: int, size: int = 100) -> list[Path]:
        found = []
        for number in range(count):
            path = self.logs / f"app.log.{number}.gz"
            path.write_bytes(b"x" * size)
            long_ago = time.time() - 86_400 - number
            os.utime(path, (long_ago, long_ago))
            found.append(path)
        return found

    def audit(self) -> list[dict[str, Any]]:
        path = self.state / "audit" / "remediations.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _hear(self, _channel: object, method: Any, _properties: object, body: bytes) -> None:
        self.heard.append((method.routing_key, json.loads(body)))


@pytest.fixture
def agent(broker: BrokerUnderTest, tmp_path: Path) -> Iterator[Agent]:
    machine = Agent(broker, tmp_path)
    machine.start()
    try:
        machine.until(lambda: bool(machine.batches()), "the first samples")
        yield machine
    finally:
        machine.close()


def test_samples_say_what_the_machine_and_its_watched_volume_are_like(agent: Agent) -> None:
    agent.old_logs(5, 50_000)

    def shown(batch: dict[str, Any]) -> float | None:
        for sample in batch["samples"]:
            if sample["labels"].get("mount") == str(agent.volume):
                return float(sample["value"])
        return None

    agent.until(lambda: shown(agent.batches()[-1]) == pytest.approx(25.0), "the volume's share")
    items = {sample["item"] for sample in agent.batches()[-1]["samples"]}
    assert {"cpu.idle", "load.5min", "mem.memused.percent", "host.alive"} <= items


def test_of_two_agents_with_one_name_one_works_and_the_other_says_why_it_does_not(
    broker: BrokerUnderTest, agent: Agent, tmp_path: Path
) -> None:
    other = Agent(broker, tmp_path / "other", agent.host)
    try:
        other.start()
        named = f"another process consumes agent.{agent.host}"
        other.until(lambda: named in other.readiness(), "the other says why it is not ready")

        commands = [agent.clean(dry_run=True) for _ in range(20)]
        for command in commands:
            agent.tell(command)
        for command in commands:
            arrived = partial(agent.answers, "remediation.executed", command.command_id)
            agent.until(lambda arrived=arrived: bool(arrived()), "an answer")
        done = {entry["command_id"] for entry in agent.audit()}
        assert done == {command.command_id for command in commands}
        assert other.audit() == []
        assert agent.volumes() == {str(agent.volume)}

        agent.kill9()
        other.until(lambda: str(other.volume) in other.volumes(), "the other works now")
        other.until(lambda: '"ok": true' in other.readiness(), "it is ready")
    finally:
        other.close()


def test_a_command_sent_twice_is_carried_out_once(agent: Agent) -> None:
    logs = agent.old_logs(4)
    command = agent.clean()

    agent.tell(command)
    agent.tell(command)
    # Commands of one kind are answered in order: after this answer the first two were seen.
    later = agent.clean(dry_run=True)
    agent.tell(later)
    agent.until(lambda: bool(agent.answers("remediation.executed", later.command_id)), "an answer")

    (answer,) = agent.answers("remediation.executed", command.command_id)
    assert answer["succeeded"]
    assert answer["freed_bytes"] == 400
    assert not any(path.exists() for path in logs)
    begun = [e for e in agent.audit() if e["event"] == "begin"]
    assert [e["command_id"] for e in begun] == [command.command_id, later.command_id]
    assert answer["audit"] in {e["previous"] for e in agent.audit()}


def test_an_expired_command_and_an_unknown_one_are_refused_with_the_reason(agent: Agent) -> None:
    (log,) = agent.old_logs(1)
    late = agent.clean(expires_in_s=-1)
    unknown = agent.clean().model_copy(update={"remediation": "reboot"})

    for command, reason in ((late, "expired"), (unknown, "clean-logs")):
        agent.tell(command)
        agent.until(
            lambda c=command: bool(agent.answers("remediation.executed", c.command_id)),
            "an answer",
        )
        (answer,) = agent.answers("remediation.executed", command.command_id)
        assert not answer["succeeded"]
        assert reason in answer["detail"]
    assert log.exists()


def test_an_agent_killed_in_the_middle_of_cleaning_finishes_and_counts_everything(
    agent: Agent,
) -> None:
    for count in (800, 1600, 3200, 6400):
        logs = agent.old_logs(count)
        command = agent.clean()
        agent.tell(command)
        begun_to_delete(logs)
        agent.kill9()
        if any(path.exists() for path in logs):
            break
        agent.start()  # A busy machine let it come to its end first: it shall have more to do.
    assert any(path.exists() for path in logs), "it was killed in the middle"
    agent.start()
    agent.until(lambda: bool(agent.answers("remediation.executed", command.command_id)), "answer")

    answers = agent.answers("remediation.executed", command.command_id)
    assert len({json.dumps(answer, sort_keys=True) for answer in answers}) == 1
    assert answers[0]["succeeded"]
    assert (answers[0]["total_steps"], answers[0]["freed_bytes"]) == (count, count * 100)
    assert not any(path.exists() for path in logs)
    assert verify(agent.state / "audit" / "remediations.jsonl") == []


def test_items_are_read_on_demand(agent: Agent) -> None:
    agent.old_logs(1, 500_000)
    readings = [
        agent.series(mount=str(agent.volume)),
        agent.series("cpu.idle"),
        agent.series(mount="/nowhere"),
    ]
    commands = [
        ItemRead(command_id=str(uuid.uuid4()), incident_id=str(uuid.uuid4()), series=series)
        for series in readings
    ]

    for command in commands:
        agent.tell(command)
    agent.until(
        lambda: all(agent.answers("item.observed", c.command_id) for c in commands), "all answers"
    )

    volume, cpu, nothing = (agent.answers("item.observed", c.command_id)[0] for c in commands)
    assert volume["value"] == pytest.approx(50.0)
    assert 0 <= cpu["value"] <= 100
    assert nothing["value"] is None
    assert "/nowhere" in nothing["detail"]


def test_evidence_for_a_full_disk_names_the_biggest_file(agent: Agent) -> None:
    (log,) = agent.old_logs(1, 300_000)
    command = EvidenceCollect(
        command_id=str(uuid.uuid4()),
        host=agent.host,
        family="disk",
        path=str(agent.volume),
        reply_by=datetime.now(UTC) + timedelta(minutes=5),
    )

    agent.tell(command)
    agent.until(lambda: bool(agent.answers("evidence.collected", command.command_id)), "answer")

    (answer,) = agent.answers("evidence.collected", command.command_id)
    paths = [r["columns"]["path"] for r in answer["rows"] if r["columns"]["kind"] == "file"]
    assert paths == [str(log)]
