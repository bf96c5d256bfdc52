"""Two replicas of healer and task on PostgreSQL, killed, stopped and replaced while they work.

Whatever happens to the one that leads: every notice is sent, every job runs to its end, once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.contracts import AnomalyDetected, JobState
from shared.embedded.mailbox import EmbeddedMailbox
from shared.embedded.process import wait_until
from shared.messaging import Bus
from shared.topology import Principal
from tests.alert_desk import ALERTING, alarm, over, published
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform
from tests.postgresql import PrivatePostgres
from tests.replicas import Replicas
from tests.waiting import LIMIT_S

ALERTS, JOBS = 24, 12


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgres]:
    server = PrivatePostgres(tmp_path_factory.mktemp("postgresql"), ("healer", "task"))
    server.start()
    yield server
    server.stop()


def trouble(number: int) -> AnomalyDetected:
    return alarm(f"host{number}", "app.errors")


def told(mailbox: EmbeddedMailbox) -> Counter[str]:
    """Each notice by its subject: one that is sent again is the same by its Message-ID."""
    mails = {str(mail["message-id"]): str(mail["subject"]) for mail in mailbox.messages()}
    return Counter(mails.values())


def until(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, LIMIT_S, what, alive=lambda: True)


def test_two_healers_tell_everything_once_whatever_becomes_of_the_one_that_leads(
    broker: BrokerUnderTest, tmp_path: Path, database: PrivatePostgres
) -> None:
    mailbox = EmbeddedMailbox(tmp_path / "mail")
    mailbox.start()
    environment = {
        "BAROGRAPH_BROKER_URL": broker.url("healer"),
        "BAROGRAPH_STORE_URL": database.url("healer"),
        "BAROGRAPH_STATE_DIR": str(tmp_path / "state"),
        "BAROGRAPH_HEALER_SMTP_URL": mailbox.url,
        "BAROGRAPH_HEALER_MAIL_TO": "oncall@example.org",
        "BAROGRAPH_HEALER_DELIVERY_LEASE_S": "5",
        "BAROGRAPH_HEALER_ALERTING": json.dumps(ALERTING),
    }
    healers = Replicas("healer", tmp_path, environment, "BAROGRAPH_HEALER_HTTP_PORT")
    troubles = [healers.kill_leader, healers.stop_and_continue_leader, healers.replace_all]
    bus = Bus(broker.url("detector"), Principal.DETECTOR, "test")
    bus.start(consume=False)
    try:
        bus.wait_ready()
        until(lambda: published(bus, trouble(0)), "the healer's queue")
        for number in range(1, ALERTS):
            bus.publish([trouble(number)])
            if number % 8 == 7:
                until(lambda half=number // 2: len(told(mailbox)) > half, "some mails")
                troubles[number // 8]()
        until(lambda: len(told(mailbox)) >= ALERTS, "every alarm")
        bus.publish([over(trouble(number)) for number in range(ALERTS)])
        healers.kill_leader()
        until(lambda: len(told(mailbox)) >= 2 * ALERTS, "every end")
    finally:
        bus.stop()
        healers.stop()
        mailbox.stop()
    what = (
        "alarm: app.errors on host{} is 9; please look",
        "resolved: app.errors on host{} has cleared: 0 now; no action needed",
    )
    wanted = {f"[critical] {said.format(n)}" for n in range(ALERTS) for said in what}
    assert told(mailbox) == Counter(wanted)


class TwoTasks(JobPlatform):
    """The job half of the platform with two processes of the task service."""

    tasks: Replicas

    def start_task(self) -> None:
        settings = self.settings
        given: dict[str, Any] = {
            "BROKER_URL": settings.broker_url.get_secret_value(),
            "STORE_URL": settings.store_url.get_secret_value(),
            "S3_URL": settings.s3_url,
            "S3_ACCESS_KEY": settings.s3_access_key,
            "S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
            "STATE_DIR": self.directory / "state",
            "TASK_MEMBER_BROKER_URL": settings.member_broker_url.get_secret_value(),
            "TASK_MEMBER_SIGNING_KEY": settings.member_signing_key.get_secret_value(),
            "TASK_CAPACITY_CPU": settings.capacity_cpu,
            "TASK_CAPACITY_MEMORY": settings.capacity_memory,
        }
        given |= {f"TASK_{name}": value for name, value in self._place.settings().items()}
        environment = {f"BAROGRAPH_{name}": str(value) for name, value in given.items()}
        self.tasks = Replicas("task", self.directory, environment)
        self.tasks.leader()

    def stop_task(self) -> None:
        self.tasks.stop()


def test_two_task_services_run_every_job_once_whatever_becomes_of_the_one_that_leads(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path: Path,
    database: PrivatePostgres,
) -> None:
    platform = TwoTasks(broker, object_store, tmp_path, store_url=database.url("task"))
    platform.start()
    try:
        program = "import os, uuid\nprint('run', uuid.uuid4().hex)\n"
        package = platform.package(program)
        troubles = [
            platform.tasks.kill_leader,
            platform.tasks.stop_and_continue_leader,
            platform.tasks.replace_all,
        ]
        jobs = []
        for trouble_comes in troubles:
            jobs += [platform.submit(package) for _ in range(JOBS // len(troubles))]
            trouble_comes()
        ends = {job_id: platform.wait_end(job_id) for job_id in jobs}
        logs = {job_id: platform.stored_log(job_id) for job_id in jobs}
        kinds = {job_id: [event.TYPE for event in platform.told(job_id)] for job_id in jobs}
    finally:
        platform.stop()
    assert {end.state for end in ends.values()} == {JobState.SUCCEEDED}
    assert all(log.count("run ") == 1 for log in logs.values()), logs
    assert all(told.count("job.succeeded") == 1 for told in kinds.values()), kinds
