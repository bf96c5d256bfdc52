"""Tests of what the agent does under the envelope: as a process of its own, on a real broker."""

from __future__ import annotations

import getpass
import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.contracts.healing import HealingResume, HealingStop
from shared.contracts.remediation import EvidenceCollect, RemediationExecute
from tests.brokers import BrokerUnderTest
from tests.integration.test_agent import Agent, begun_to_delete
from tests.troubles import BURN, program, started


@pytest.fixture
def agent(broker: BrokerUnderTest, tmp_path: Path) -> Iterator[Agent]:
    machine = Agent(broker, tmp_path)
    machine._environment["BAROGRAPH_AGENT_REMEDIATIONS"] = json.dumps(
        {
            "kill-runaway": {
                "programs": ["burner"],
                "users": [getpass.getuser(), "root"],
                "min_cpu": 0.1,
                "min_age_s": 0,
                "grace_s": 2,
            }
        }
    )
    machine.start()
    try:
        machine.until(lambda: bool(machine.batches()), "the first samples")
        yield machine
    finally:
        machine.close()


@pytest.fixture
def burner(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (process,) = started(tmp_path, [program(tmp_path, "burner"), "-c", BURN])
    yield process
    process.kill()
    process.communicate()


def order(agent: Agent, **fields: object) -> RemediationExecute:
    return RemediationExecute.model_validate(
        {
            "command_id": str(uuid.uuid4()),
            "host": agent.host,
            "incident_id": str(uuid.uuid4()),
            "remediation": "kill-runaway",
            "series": {"host": agent.host, "item": "cpu.idle"},
            "expires": datetime.now(UTC) + timedelta(minutes=5),
            **fields,
        }
    )


def answer(agent: Agent, command: RemediationExecute) -> dict[str, object]:
    agent.tell(command)
    key = "remediation.executed"
    agent.until(lambda: bool(agent.answers(key, command.command_id)), "an answer")
    return agent.answers(key, command.command_id)[0]


def switch(agent: Agent, kind: type[HealingStop | HealingResume]) -> None:
    agent.tell(kind(switch_id=str(uuid.uuid4()), by="bob", reason="enough", at=datetime.now(UTC)))


def test_a_runaway_is_named_by_the_evidence_planned_and_killed_as_it_was_approved(
    agent: Agent, burner: subprocess.Popen[bytes]
) -> None:
    question = EvidenceCollect(
        command_id=str(uuid.uuid4()),
        host=agent.host,
        family="cpu",
        reply_by=datetime.now(UTC) + timedelta(minutes=5),
    )
    agent.tell(question)
    agent.until(lambda: bool(agent.answers("evidence.collected", question.command_id)), "evidence")
    rows = agent.answers("evidence.collected", question.command_id)[0]["rows"]
    assert str(burner.pid) in {row["columns"]["pid"] for row in rows}

    plan = answer(agent, order(agent, dry_run=True))
    (step,) = plan["steps"]
    assert step["command"] == f"kill -TERM {burner.pid}"
    assert burner.poll() is None
    other = answer(agent, order(agent, only=["1:1"], fence=1))
    assert other["steps"] == []
    assert burner.poll() is None

    done = answer(agent, order(agent, only=[step["identity"]], fence=2))
    assert done["succeeded"]
    assert burner.wait(600) != 0
    late = answer(agent, order(agent, fence=1))
    assert "lease is over" in str(late["detail"])


def test_the_kill_switch_ends_a_cleaning_under_way_and_holds_until_it_is_taken_back(
    agent: Agent,
) -> None:
    logs = agent.old_logs(3000)
    command = agent.clean()
    agent.tell(command)
    begun_to_delete(logs)
    switch(agent, HealingStop)
    key = "remediation.executed"
    agent.until(lambda: bool(agent.answers(key, command.command_id)), "an answer")
    stopped = agent.answers(key, command.command_id)[0]
    assert not stopped["succeeded"]
    assert "by bob (enough)" in stopped["detail"]
    left = sum(path.exists() for path in logs)
    assert left == 3000 - stopped["total_steps"]
    assert left
    assert "stopped by bob" in str(answer(agent, agent.clean())["detail"])
    switch(agent, HealingResume)
    resumed = answer(agent, agent.clean())
    assert resumed["succeeded"]
    assert not any(path.exists() for path in logs)
