"""Subscribers' queues hold nobody up and fill no disk; senders cannot pass for others."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from shared import topology
from shared.contracts import (
    AlertChanged,
    AlertState,
    HealingResume,
    HealingStop,
    JobRemoved,
    JobState,
    Member,
    Message,
    PodExited,
    Role,
    SeriesRef,
    Severity,
    job_word,
)
from shared.embedded.process import wait_until
from shared.messaging import Bus, Delivery, Reject, decode, tokens
from shared.messaging.envelope import event_type
from shared.service.copies import kept_headers
from shared.topology import Principal
from tests.brokers import PrivateBroker
from tests.hostile.broker_intruder import connect, intruder
from tests.waiting import LIMIT_S

_MIB = 1024 * 1024
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    server = PrivateBroker(tmp_path_factory.mktemp("subscribers"))
    server.start()
    try:
        bus = Bus(server.url("operator"), Principal.OPERATOR)
        bus.start()
        bus.wait_ready(60)
        bus.stop()
        yield server
    finally:
        server.stop()


@pytest.fixture
def outsider(broker: PrivateBroker) -> Iterator[BlockingChannel]:
    """A channel of somebody with the password that every user of the platform has."""
    with connect(broker.url("outside")) as link:
        channel = link.channel()
        channel.confirm_delivery()
        yield channel


def _alert(number: int) -> AlertChanged:
    return AlertChanged(
        alert_id="00000000-0000-4000-8000-000000000000",
        sequence=number,
        state=AlertState.FIRING,
        severity=Severity.CRITICAL,
        family="disk",
        series=SeriesRef(host="host17", item="df.bytes.used.percent"),
        value=80,
        sentence="is full",
        at=_NOW,
    )


def _event(number: int) -> JobRemoved:
    return JobRemoved(job_id="j", name="j", state=JobState.FAILED, sequence=number, at=_NOW)


@pytest.mark.parametrize(
    ("principal", "outlet", "make"),
    [(Principal.HEALER, topology.ALERTS, _alert), (Principal.TASK, topology.JOB_EVENTS, _event)],
)
def test_a_subscribers_queue_that_refuses_holds_no_service_up(
    broker: PrivateBroker,
    outsider: BlockingChannel,
    principal: Principal,
    outlet: str,
    make: Callable[[int], Message],
) -> None:
    channel = outsider
    refusing = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = channel.queue_declare("outside.full", durable=True, arguments=refusing).method.queue
    channel.queue_bind(full, outlet, "#")
    good = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(good, outlet, "#")
    bus = Bus(broker.url(principal), principal)
    bus.start(consume=False)
    try:
        bus.wait_ready()
        for number in range(1, 6):
            bus.publish([make(number)], timeout_s=60)
    finally:
        bus.stop()
    heard: list[str] = []

    def all_heard() -> bool:
        method, _, _ = channel.basic_get(good, auto_ack=True)
        if method is not None:
            heard.append(method.routing_key)
        return len(heard) == 5

    wait_until(all_heard, LIMIT_S, "the others' messages", alive=lambda: True)
    assert set(heard) == {make(1).routing_key()}
    channel.queue_delete(full)


_KINDS = {
    "classic": {"x-queue-type": "classic"},
    "lazy": {"x-queue-mode": "lazy"},
    "quorum": {"x-queue-type": "quorum"},
    "unbounded by its own word": {"x-max-length-bytes": 1 << 40},
    "stream": {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 2_000_000_000},
}


@pytest.mark.parametrize("kind", _KINDS)
def test_a_queue_nobody_reads_does_not_fill_the_disk(
    broker: PrivateBroker, outsider: BlockingChannel, kind: str
) -> None:
    name, channel = f"outside.never-read-{kind.replace(' ', '-')}", outsider
    channel.queue_declare(name, durable=True, arguments=_KINDS[kind])
    channel.exchange_declare(name, "fanout")
    channel.queue_bind(name, name)
    body, persistent = bytes(_MIB // 2), pika.BasicProperties(delivery_mode=2)
    for _ in range(60):
        channel.basic_publish(name, "x", body, persistent)
    channel.exchange_delete(name)

    with httpx.Client(base_url=f"{broker.admin_url}/api", timeout=60) as admin:

        def seen() -> dict[str, Any]:
            found: dict[str, Any] = admin.get(f"/queues/%2F/{name}").raise_for_status().json()
            return found

        def bounded() -> bool:
            if "effective_policy_definition" not in seen():
                return False
            if kind == "stream":
                return 0 < _size_of_streams(broker.state / "data") <= 8 * _MIB
            return 0 < int(seen().get("message_bytes", 0)) <= 4 * _MIB

        wait_until(bounded, LIMIT_S, "its bound", alive=lambda: True)
        rules = seen()["effective_policy_definition"]
    assert rules["max-length-bytes"] == 4 * _MIB
    if kind != "stream":  # One is cut by its size alone.
        assert rules["expires"] == 7 * 86_400_000
        assert rules["message-ttl"] == 86_400_000


def _size_of_streams(root: Path) -> int:
    """Bytes of all streams together: those of samples are empty here."""
    found = 0
    for folder, _, files in os.walk(root):
        for name in files:
            # The broker removes one after the other meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found += Path(folder, name).stat().st_size if name.endswith(".segment") else 0
    return found


def test_nobody_makes_queues_without_end(broker: PrivateBroker) -> None:
    with httpx.Client(base_url=f"{broker.admin_url}/api", timeout=60) as admin:
        (limit,) = admin.get("/vhost-limits/%2F").raise_for_status().json()
    assert limit["value"]["max-queues"] == 2_000


def _delivery(exchange: str, key: str, message: Message, **headers: object) -> Delivery:
    told = {"cloudEvents_type": event_type(type(message))} | headers
    body = message.model_dump_json().encode()
    return Delivery("a.queue", 1, exchange, key, told, "m", "application/json", body)


def _switch(kind: type[HealingStop | HealingResume]) -> HealingStop | HealingResume:
    return kind(
        switch_id="00000000-0000-4000-8000-000000000000", hosts="*", by="x", reason="", at=_NOW
    )


def _exit(job_id: str) -> PodExited:
    member = Member(role=Role.WORKER, index=0, incarnation=1)
    return PodExited(job_id=job_id, member=member, exit_code=0, at=_NOW)


FORGERIES = {
    "another type under a key of its own": _delivery(
        "healing", "healing.stop", _switch(HealingResume)
    ),
    "another principal's message": _delivery("from.task", "healing.stop", _switch(HealingStop)),
    "the key of another message": _delivery("from.healer", "healing.resume", _switch(HealingStop)),
    "an exchange of a stranger's": _delivery("outside.x", "healing.stop", _switch(HealingStop)),
    "a header that names another exchange": _delivery(
        "outside.x",
        "healing.resume",
        _switch(HealingResume),
        **{"x-original-exchange": "from.healer"},
    ),
    "another job's end": _delivery("from.member", "pod.exited.mine", _exit("victim")),
    "another job's end, with a header that says so": _delivery(
        "from.member",
        "pod.exited.mine",
        _exit("victim"),
        **{"x-original-routing-key": "pod.exited.victim", "x-original-exchange": "from.member"},
    ),
    "another job's end, tried once more": _delivery(
        "to.task",
        "task.jobs",
        _exit("victim"),
        **{"x-original-routing-key": "pod.exited.mine", "x-original-exchange": "from.member"},
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_what_a_sender_may_not_say_is_refused_by_its_receiver(what: str) -> None:
    with pytest.raises(Reject):
        decode(FORGERIES[what])


@pytest.mark.parametrize(
    ("exchange", "sender"),
    [("healing", Principal.OUTSIDE), ("from.healer", Principal.HEALER), ("", None)],
)
def test_a_receiver_knows_who_sent_a_message(exchange: str, sender: Principal | None) -> None:
    stop = _switch(HealingStop)
    first = _delivery(exchange, "healing.stop", stop)
    assert (first.sender, decode(first)) == (sender, stop)
    # Its receiver sends it to itself again, and what it notes counts, not what the sender noted.
    spoofed = _delivery(exchange, "healing.stop", stop, **{"x-original-exchange": "from.client"})
    for before in (first, spoofed) if exchange else (first,):
        again = _delivery("to.agent", "agent.host17", stop, **kept_headers(before))
        assert (again.sender, decode(again)) == (sender, stop)
        once_more = _delivery("to.agent", "agent.host17", stop, **kept_headers(again))
        assert (once_more.sender, once_more.original_key) == (sender, again.original_key)


def test_no_flood_of_headers_makes_a_message_come_from_nobody() -> None:
    many = {f"cloudEvents_{number}": "x" * 2_000 for number in range(20)}
    forged = _delivery("healing", "healing.stop", _switch(HealingStop), **many)
    again = _delivery("to.agent", "agent.host17", _switch(HealingStop), **kept_headers(forged))
    for _ in range(3):
        again = _delivery("to.agent", "agent.host17", _switch(HealingStop), **kept_headers(again))
        assert again.sender is Principal.OUTSIDE


def test_a_members_further_key_makes_nothing_believed_of_another_job(
    broker: PrivateBroker,
) -> None:
    url = tokens.url_with_token(
        broker.url("member"),
        broker.signing_key,
        Principal.MEMBER,
        job_word("mine"),
        time.time() + 600,
    )
    body = _exit("victim").model_dump_json().encode()
    with intruder(url) as one:
        headers = {"CC": ["pod.exited.victim"], "BCC": ["pod.exited.victim"]}
        properties = pika.BasicProperties(headers=headers)
        one.may("basic_publish", "from.member", "pod.exited.mine", body, properties)
    with connect(broker.url()) as link:
        channel = link.channel()
        got = channel.basic_get("task.jobs", auto_ack=True)
        while got[0] is not None:
            method, properties, body = got
            headers = properties.headers or {}
            told = Delivery(
                "task.jobs", 1, method.exchange, method.routing_key, headers, "m", "", body
            )
            with pytest.raises(Reject, match="speaks of another job"):
                decode(told)
            got = channel.basic_get("task.jobs", auto_ack=True)
