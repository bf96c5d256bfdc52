"""A job's members at a real broker: their token opens their own job's messages, and only while it
lasts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError
from pydantic import SecretStr

from services.task.launcher.exchange import Exchange
from services.task.launcher.membership import Membership
from services.task.launcher.pod import Pod, member_spec, read_spec
from services.task.runtimes.kubernetes import names, wiring
from services.task.settings import TaskSettings
from services.task.spec import SPEC_FILE, PodPlaces
from shared.contracts import (
    ClusterSpecReady,
    JobSubmit,
    Member,
    Message,
    PodExited,
    PodReported,
    Role,
    job_word,
)
from shared.messaging import Bus, Delivery, Reject, decode, tokens
from shared.storage import MemoryStore
from shared.topology import Principal
from tests.brokers import PrivateBroker
from tests.waiting import eventually

JOB, OTHER = "a.b", "a-b"
"""Ids that differ in a dot alone."""
WORD = job_word(JOB)
MEMBER = Member(role=Role.WORKER, index=0, incarnation=1)
SUBMIT = JobSubmit(
    job_id=JOB,
    name="x",
    type="distribute",
    workers=1,
    ps=1,
    package="barograph:packages:a.tar.gz",
    main="train.py",
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """One that looks twice a second, not once a minute, whether tokens have expired."""
    server = PrivateBroker(tmp_path_factory.mktemp("tokens"))
    (server.state / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 500}]}].\n")
    server.start()
    yield server
    server.stop()


class Autospec:
    """Remembers what members report and what it could not believe."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.reports: list[PodReported] = []
        self.refused: list[str] = []
        self.bus = Bus(broker.url("autospec"), Principal.AUTOSPEC)
        self.bus.consume("autospec.reports", self._heard)
        self.bus.start()

    def _heard(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                message = decode(delivery)
            except Reject as error:
                self.refused.append(error.reason)
                continue
            assert isinstance(message, PodReported)
            self.reports.append(message)


@pytest.fixture(scope="module")
def autospec(broker: PrivateBroker) -> Iterator[Autospec]:
    # All whose queues a member's messages must find.
    others = [Bus(broker.url(name), name) for name in ("task", "client")]
    for bus in others:
        bus.start()
    heard = Autospec(broker)
    for bus in (*others, heard.bus):
        bus.wait_ready(60)
    yield heard
    for bus in (*others, heard.bus):
        bus.stop()


def url(broker: PrivateBroker, job_id: str = JOB, life_s: float = 600, key: str = "") -> str:
    return tokens.url_with_token(
        broker.url("member"),
        key or broker.signing_key,
        Principal.MEMBER,
        job_word(job_id),
        time.time() + life_s,
    )


def report(job_id: str = JOB) -> PodReported:
    return PodReported(
        job_id=job_id, member=MEMBER, host="10.0.0.1", port=2222, at=datetime.now(UTC)
    )


def gathered(epoch: int) -> ClusterSpecReady:
    return ClusterSpecReady(
        job_id=JOB, epoch=epoch, cluster={Role.WORKER: ("10.0.0.1:2222",)}, members=(MEMBER,)
    )


def test_it_publishes_its_own_reports_and_hears_its_own_spec(
    broker: PrivateBroker, autospec: Autospec
) -> None:
    heard: list[Message] = []
    instance = f"{WORD}.worker-0.1"
    bus = Bus(url(broker), Principal.MEMBER, instance, word=WORD)
    bus.consume(f"member.{instance}", lambda batch: heard.extend(map(decode, batch)))
    bus.start()
    try:
        bus.wait_ready()
        end = PodExited(job_id=JOB, member=MEMBER, exit_code=0, at=datetime.now(UTC))
        bus.publish([report(), end])
        eventually(lambda: any(r.job_id == JOB for r in autospec.reports), "the report")
        autospec.bus.publish([gathered(1)])
        eventually(lambda: heard == [gathered(1)], "the spec")
    finally:
        bus.stop()


def _queue(channel: BlockingChannel) -> str:
    name: str = channel.queue_declare("", exclusive=True).method.queue
    return name


OUT, IN = "from.member", "from.autospec"
Act = Callable[[BlockingChannel], Any]
FORBIDDEN: dict[str, Act] = {
    "another job's report": lambda c: c.basic_publish(OUT, f"pod.reported.{OTHER}", b""),
    "a key below its own": lambda c: c.basic_publish(OUT, f"pod.reported.{WORD}.x", b""),
    "a spec of its own job": lambda c: c.basic_publish(OUT, f"clusterspec.ready.{WORD}", b""),
    "a submit": lambda c: c.basic_publish("jobs", "job.submit", b""),
    "a spec for itself": lambda c: c.basic_publish(IN, f"clusterspec.ready.{WORD}", b""),
    "an alert": lambda c: c.basic_publish("alerts", f"pod.reported.{WORD}", b""),
    "samples": lambda c: c.basic_publish("metrics", f"samples.{WORD}", b""),
    "straight into a queue": lambda c: c.basic_publish("", "autospec.reports", b""),
    "a retry": lambda c: c.basic_publish("retry.autospec.1s", "autospec.reports", b""),
    "a dead letter": lambda c: c.basic_publish("to.autospec", "autospec.reports.dead", b""),
    "a queue of a name": lambda c: c.queue_declare(f"member.{WORD}.worker-0.1", exclusive=True),
    "another job's specs": lambda c: c.queue_bind(_queue(c), IN, f"clusterspec.ready.{OTHER}"),
    "everybody's specs": lambda c: c.queue_bind(_queue(c), IN, "clusterspec.ready.#"),
    "other members' reports": lambda c: c.queue_bind(_queue(c), OUT, f"pod.reported.{WORD}"),
    "alerts to read": lambda c: c.queue_bind(_queue(c), "alerts", "#"),
    "a service's queue": lambda c: c.basic_get("autospec.reports"),
    "emptying a service's queue": lambda c: c.queue_purge("task.jobs"),
    "an exchange": lambda c: c.exchange_declare("jobs2", "topic"),
    "an exchange named as its queues are": lambda c: c.exchange_declare("amq.gen-x", "topic"),
}


@pytest.mark.usefixtures("autospec")
@pytest.mark.parametrize("what", FORBIDDEN)
def test_it_is_refused(what: str, broker: PrivateBroker) -> None:
    link = pika.BlockingConnection(pika.URLParameters(url(broker)))
    with contextlib.closing(link):
        channel = link.channel()
        channel.confirm_delivery()
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            FORBIDDEN[what](channel)


def test_what_it_says_of_another_job_under_its_own_key_is_not_believed(
    broker: PrivateBroker, autospec: Autospec
) -> None:
    headers = {"cloudEvents_type": "barograph.pod.reported.v1"}
    headers |= {"x-original-routing-key": report(OTHER).routing_key(), "x-attempt": "2"}
    properties = pika.BasicProperties(headers=headers)
    link = pika.BlockingConnection(pika.URLParameters(url(broker)))
    with contextlib.closing(link):
        channel = link.channel()
        channel.confirm_delivery()
        body = report(OTHER).model_dump_json().encode()
        channel.basic_publish(OUT, f"pod.reported.{WORD}", body, properties)

    eventually(lambda: bool(autospec.refused), "the refusal")
    assert "speaks of another job than its routing key" in autospec.refused[0]
    assert not any(r.job_id == OTHER for r in autospec.reports)


def _forged(broker: PrivateBroker, algorithm: str) -> str:
    """A token whose signature asks the broker to be easily satisfied."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    good = url(broker).split(":")[2].split("@")[0]
    header = part(json.dumps({"alg": algorithm, "kid": tokens.KEY_ID}).encode())
    signed = f"{header}.{good.split('.')[1]}"
    # The public key is known to everybody; as a secret it must open nothing.
    secret = tokens.public_key(broker.signing_key).strip().encode()
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{'' if algorithm == 'none' else part(digest)}"


@pytest.mark.parametrize("kind", ["expired", "of another key", "none", "HS256", "unreadable"])
def test_a_token_that_is_not_good_does_not_log_in(kind: str, broker: PrivateBroker) -> None:
    good = url(broker)
    token = good.split(":")[2].split("@")[0]
    bad = {
        "expired": url(broker, life_s=-1),
        "of another key": url(broker, key=tokens.new_signing_key()),
        "unreadable": good.replace(token, "token"),
    }.get(kind) or good.replace(token, _forged(broker, kind))

    with pytest.raises(ProbableAuthenticationError, match="ACCESS_REFUSED"):
        pika.BlockingConnection(pika.URLParameters(bad))


@pytest.fixture
def renew(
    broker: PrivateBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], None]:
    """Write the job's Secret, with a token that lasts so long, to where its pods have it."""
    monkeypatch.setattr(PodPlaces, "SPEC", tmp_path)
    settings = TaskSettings(
        member_broker_url=SecretStr(broker.url("member")),
        member_signing_key=SecretStr(broker.signing_key),
    )

    store = MemoryStore()
    store.ensure_bucket(settings.s3_bucket)

    def write(life_s: float) -> None:
        monkeypatch.setattr(wiring, "_ACCESS_S", life_s)
        text = wiring.specs(settings, store)(SUBMIT)
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / SPEC_FILE)

    monkeypatch.setenv("BAROGRAPH_ROLES", names.roles_text(SUBMIT))
    monkeypatch.setenv("BAROGRAPH_GROUP", "worker")
    for name, value in {"INDEX": "0", "HOST": "10.0.0.1", "POD": "p", "NODE": "n"}.items():
        monkeypatch.setenv(f"BAROGRAPH_{name}", value)
    return write


@contextlib.contextmanager
def member_in_a_pod(tmp_path: Path, specs: list[ClusterSpecReady]) -> Iterator[Membership]:
    spec = member_spec(read_spec())
    ground = Pod(spec, MemoryStore(), Exchange(tmp_path))
    membership = Membership(spec, ground.broker_url, specs.append, lambda _reason: None)
    membership.start(2222)
    try:
        yield membership
    finally:
        membership.stop()


def _newest(autospec: Autospec) -> float:
    return max((r.at.timestamp() for r in autospec.reports if r.pod == "p"), default=0.0)


def test_a_token_renewed_in_time_is_taken_up_without_a_break(
    autospec: Autospec, renew: Callable[[float], None], tmp_path: Path
) -> None:
    for life_s in (8, 30, 120, 480):
        renew(life_s)
        began, over = time.time(), time.time() + life_s
        with member_in_a_pod(tmp_path, []) as membership:
            eventually(lambda since=began: _newest(autospec) > since, "a first report")
            renew(600)
            if time.time() > over - life_s / 2:
                continue  # A busy machine was not in time: it shall have more of it.
            eventually(lambda end=over: _newest(autospec) > end + 1, "one with the renewed token")
            assert membership._bus.last_error == "", "nothing was refused, no connection lost"
        return
    pytest.fail("no report within minutes")


def test_after_its_token_has_expired_it_goes_on_with_a_renewed_one(
    autospec: Autospec, renew: Callable[[float], None], tmp_path: Path
) -> None:
    specs: list[ClusterSpecReady] = []
    renew(3)
    with member_in_a_pod(tmp_path, specs) as membership:
        eventually(lambda: "ACCESS_REFUSED" in membership._bus.last_error, "the token's end")
        renew(600)
        again = time.time()
        eventually(lambda: _newest(autospec) > again, "a report with the renewed token")

        def hears() -> bool:
            # As autospec does with each report.
            autospec.bus.publish([gathered(5)])
            return bool(specs)

        eventually(hears, "a spec in its queue")
    assert specs == [gathered(5)]


def test_one_that_comes_with_an_expired_token_waits_for_a_renewed_one(
    autospec: Autospec, renew: Callable[[float], None], tmp_path: Path
) -> None:
    renew(-1)
    with member_in_a_pod(tmp_path, []) as membership:
        eventually(lambda: "ACCESS_REFUSED" in membership._bus.last_error, "the refusal")
        renew(600)
        again = time.time()
        eventually(lambda: _newest(autospec) > again, "a report with the renewed token")
