"""No principal reaches a routing key of another's, by any of the broker's means.

Every principal tries, at a real broker, each way by which RabbitMQ moves messages: exchanges of
its own, bindings, alternate and dead-letter exchanges, the default exchange, direct reply-to,
further routing keys in a header, policies. Nobody's queue may receive what it was not to receive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import httpx
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from shared import topology
from shared.contracts import (
    job_word,
)
from shared.messaging import Bus, DeadLetters, Delivery, tokens
from shared.topology import Principal
from tests.brokers import PrivateBroker
from tests.hostile.broker_intruder import (
    FORGED,
    Intruder,
    connect,
    foreign,
    intruder,
    names_of_its_own,
    targets,
)
from tests.waiting import eventually

PRINCIPALS = [p for p in Principal if p is not Principal.OPERATOR]
JOB = "intruder"
VICTIM = "victim"


@dataclass
class Arrived:
    """A forged message in somebody's queue."""

    queue: str
    key: str
    exchange: str


class Watched:
    """A broker with all queues of the platform, and what forged messages are in them."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.broker = broker
        for name in (Principal.OPERATOR, Principal.AGENT):
            bus = Bus(broker.url(name), name, VICTIM)
            bus.start()
            bus.wait_ready(60)
            bus.stop()
        self._link = connect(broker.url())
        self.admin = self._link.channel()
        self.queues = [
            queue.name
            for principal in Principal
            for queue in [
                *topology.work_queues(principal, VICTIM),
                *topology.retry_queues(principal),
            ]
            if not queue.exclusive
        ]
        member = topology.work_queues(Principal.MEMBER, VICTIM, VICTIM)[0]
        self._bystander("a member's", member.bindings)
        self._bystander("outside.victim", [(topology.ALERTS, "#"), (topology.JOB_EVENTS, "#")])

    def _bystander(self, name: str, bindings: Iterable[tuple[str, str]]) -> None:
        self.admin.queue_declare(name, durable=True)
        for exchange, key in bindings:
            self.admin.queue_bind(name, exchange, key)
        self.queues.append(name)

    def url(self, principal: Principal) -> str:
        """The principal's address; a member's has a token for one job."""
        if principal is not Principal.MEMBER:
            return self.broker.url(principal)
        key, until = self.broker.signing_key, time.time() + 600
        return tokens.url_with_token(
            self.broker.url(principal), key, principal, job_word(JOB), until
        )

    def arrived(self) -> list[Arrived]:
        """Takes everything out of all queues."""
        found = []
        for queue in self.queues:
            while (got := self.admin.basic_get(queue, auto_ack=True))[0] is not None:
                method, _, body = got
                if body == FORGED:
                    found.append(Arrived(queue, method.routing_key, method.exchange))
        return found

    def close(self) -> None:
        self._link.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    server = PrivateBroker(tmp_path_factory.mktemp("borders"))
    server.start()
    try:
        seen = Watched(server)
        yield seen
        seen.close()
    finally:
        server.stop()


@pytest.fixture(params=PRINCIPALS)
def who(request: pytest.FixtureRequest) -> Principal:
    principal: Principal = request.param
    return principal


def foreign_keys(who: Principal) -> list[str]:
    keys = [route.binding(VICTIM) for route in foreign(who)]
    if who is Principal.MEMBER:
        keys += [r.binding(VICTIM) for r in topology.ROUTES if who in r.publishers]
    return keys


def own_exchanges(who: Principal) -> set[str]:
    routes = [route for route in topology.ROUTES if who in route.publishers]
    return {topology.publishing_exchange(who, route) for route in routes}


def test_publishing_to_an_exchange_reaches_nobody_else(watched: Watched, who: Principal) -> None:
    keys = foreign_keys(who)
    with intruder(watched.url(who)) as one:
        for target in targets():
            if target in own_exchanges(who):
                for key in keys:
                    one.publish(target, key)
            else:
                assert one.publish(target, keys[0]) == (target in own_to(who)), target
    assert _of_others(watched, who) == []


def own_to(who: Principal) -> set[str]:
    """The exchanges that lead to its own queues alone."""
    own: set[str] = set()
    if topology.retry_queues(who):
        own = {topology.retry_exchange(who, s) for s in topology.RETRY_DELAYS_S}
    if topology.work_queues(who) and who is not Principal.MEMBER:
        own.add(topology.own_queues_exchange(who))
    if who is topology.PARTITION_PUBLISHER:
        own.add(topology.PARTITIONS)
    return own


def _of_others(watched: Watched, who: Principal) -> list[Arrived]:
    """Forged messages in queues that are not the intruder's own."""
    queues = [*topology.work_queues(who, VICTIM), *topology.retry_queues(who)]
    own = {queue.name for queue in queues}
    return [each for each in watched.arrived() if each.queue not in own]


def test_the_default_exchange_is_closed(watched: Watched, who: Principal) -> None:
    names = [*watched.queues, "metrics.0", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.g1.x"]
    with intruder(watched.url(who)) as one:
        assert not any(one.publish("", name) for name in names)
        assert not one.publish("", "task.jobs", reply_to="amq.rabbitmq.reply-to")
    assert watched.arrived() == []


def _declarable(one: Intruder, who: Principal) -> list[str]:
    """Names under which it may have an exchange; two will do, since all are treated alike."""
    names = names_of_its_own(who)
    found = [name for name in names if one.allowed(partial(_declare_and_delete, name=name))]
    assert not found or who is not Principal.MEMBER, "a member can make none at all"
    return [*found[:1], *found[1:][-1:]]


def _declare_and_delete(channel: BlockingChannel, name: str) -> None:
    channel.exchange_declare(name, "fanout")
    channel.exchange_delete(name)


def test_an_exchange_of_its_own_leads_nowhere(watched: Watched, who: Principal) -> None:
    queues = ("task.jobs", "healer.observations", f"agent.{VICTIM}", "client.events")
    with intruder(watched.url(who)) as one:
        for name in _declarable(one, who):
            one.may("exchange_declare", name, "fanout")
            for target in targets():
                one.may("exchange_bind", target, name, "#")
            for queue in queues:
                one.may("queue_bind", queue, name, "#")
            for key in foreign_keys(who):
                one.publish(name, key)
            one.may("exchange_delete", name)
    assert _of_others(watched, who) == []


def test_an_alternate_exchange_leads_nowhere(watched: Watched, who: Principal) -> None:
    with intruder(watched.url(who)) as one:
        for name in _declarable(one, who):
            for target in targets():
                if one.allowed(partial(_declare_alternate, name=name, target=target)):
                    for key in foreign_keys(who):
                        one.publish(name, key)
                    one.may("exchange_delete", name)
    assert _of_others(watched, who) == []


def _declare_alternate(channel: BlockingChannel, name: str, target: str) -> None:
    channel.exchange_declare(name, "direct", arguments={"alternate-exchange": target})


def test_no_exchange_of_the_platform_can_be_replaced(watched: Watched, who: Principal) -> None:
    with intruder(watched.url(who)) as one:
        for name in targets():
            assert not one.may("exchange_delete", name), name
            alternate = partial(_declare_alternate, name=name, target="jobs")
            assert not one.allowed(alternate), name


def test_a_dead_letter_exchange_leads_nowhere(watched: Watched, who: Principal) -> None:
    keys = foreign_keys(who)
    with intruder(watched.url(who)) as one:
        for exchange in _declarable(one, who):
            one.may("exchange_declare", exchange, "fanout")
            for target in ("", *targets()):
                for key in keys if target in own_exchanges(who) else keys[:1]:
                    one.allowed(partial(_dead_letter, exchange=exchange, target=target, key=key))
            one.may("exchange_delete", exchange)
        for target in ("", *targets()):
            arguments = {"x-dead-letter-exchange": target}
            may = one.may("queue_declare", "", arguments=arguments)
            # An exchange it may publish to may be its dead-letter exchange as well.
            own = re.fullmatch(topology.permissions(who).write, target)
            assert may <= bool(target and own), target
    assert _of_others(watched, who) == []


def _dead_letter(channel: BlockingChannel, exchange: str, target: str, key: str) -> None:
    """Have a queue of that name dead-letter what is published to the exchange of that name."""
    arguments = {
        "x-dead-letter-exchange": target,
        "x-dead-letter-routing-key": key,
        "x-message-ttl": 0,
    }
    channel.queue_declare(exchange, exclusive=True, arguments=arguments)
    assert target, "the default exchange reaches every queue"
    channel.queue_bind(exchange, exchange)
    channel.basic_publish(exchange, key, FORGED)
    channel.queue_delete(exchange)


def test_further_keys_in_a_header_reach_its_own_consumers_only(
    watched: Watched, who: Principal
) -> None:
    reached = {
        sub.queue.format(instance=VICTIM)
        for route in topology.ROUTES
        if who in route.publishers
        for sub in route.consumers
    }
    outlets = {"outside.victim" for r in topology.ROUTES if who in r.publishers and r.outlet}
    with intruder(watched.url(who)) as one:
        for route in topology.ROUTES:
            if who in route.publishers:
                headers = {name: foreign_keys(who) for name in ("CC", "BCC")}
                exchange = topology.publishing_exchange(who, route)
                one.publish(exchange, route.binding(job_word(JOB)), headers=headers)
    found = watched.arrived()
    member = {"a member's"} if who is Principal.AUTOSPEC else set()
    assert {each.queue for each in found} <= reached | outlets | member
    assert not {each.key for each in found} & set(foreign_keys(who))


def test_policies_and_other_queues_are_out_of_reach(watched: Watched, who: Principal) -> None:
    login = (str(who), watched.broker.passwords[who])
    body = {"pattern": ".*", "definition": {"alternate-exchange": "from.healer"}}
    base = f"http://127.0.0.1:{watched.broker.ports.management}/api"
    for path in ("policies", "operator-policies", "parameters/shovel"):
        answer = httpx.put(f"{base}/{path}/%2F/mine", json=body, auth=login, timeout=60)
        assert answer.status_code in (401, 403), path
    mine = {q.format(instance=VICTIM) for q in topology.subscriptions(who)}
    others = [q for q in watched.queues if q.partition(".")[0] != who and q not in mine]
    others = [q for q in others if f".{who}." not in q]
    with intruder(watched.url(who)) as one:
        for queue in others:
            assert not one.may("basic_get", queue), queue
            assert not one.may("queue_purge", queue), queue
            assert not one.may("queue_delete", queue), queue
            assert not one.may("queue_bind", queue, "amq.topic", "#"), queue
            assert not one.may("queue_unbind", queue, "jobs", "job.submit"), queue


def _wanted(who: Principal, exchange: str, key: str) -> bool:
    """Return whether the table lets the principal receive ``key`` from ``exchange``."""
    if who is Principal.OUTSIDE:
        return exchange in (topology.ALERTS, topology.JOB_EVENTS)
    if who is Principal.MEMBER:
        return False  # All keys here are of another job.
    return any(
        exchange in topology.sources(route) and route.matches(key)
        for routes in topology.subscriptions(who).values()
        for route in routes
    )


def test_nobody_reads_what_is_not_for_them(watched: Watched, who: Principal) -> None:
    keys = [route.binding(VICTIM) for route in topology.ROUTES]
    keys += ["#", "*", "*.*", "#.#", "job.*", "job.#", f"#.{VICTIM}", "*.submit", ""]
    spy = next(iter(own_queues(who)), "outside.victim")
    with intruder(watched.url(who)) as one:
        for exchange in targets():
            if exchange in own_to(who):
                continue
            # An exchange that may not be read at all is refused for every key alike.
            for key in keys if _readable(who, exchange) else ["#", "job.submit"]:

                def bind(c: BlockingChannel, exchange: str = exchange, key: str = key) -> None:
                    queue = spy
                    if who in (Principal.MEMBER, Principal.OUTSIDE):
                        queue = c.queue_declare("", exclusive=True).method.queue
                    c.queue_bind(queue, exchange, key)

                assert one.allowed(bind) <= _wanted(who, exchange, key), (exchange, key)


def _readable(who: Principal, exchange: str) -> bool:
    return any(_wanted(who, exchange, route.binding(VICTIM)) for route in topology.ROUTES)


def own_queues(who: Principal) -> list[str]:
    return [n.format(instance=VICTIM) for n in topology.subscriptions(who) if "{" not in n]


_MADE_UP = [
    {"queue": "task.jobs", "reason": "expired", "exchange": exchange, "routing-keys": keys} | more
    for exchange, keys in (
        ("from.member", ["pod.exited.victim"]),
        ("to.task", ["task.jobs"]),
        ("from.healer", []),
        ("", "x"),
    )
    for more in ({}, {"count": 0})
]


@pytest.mark.parametrize("note", [*_MADE_UP, {"queue": "task.jobs", "reason": "expired"}, {}])
def test_no_letter_that_the_broker_gave_up_is_replayed_as_anothers(
    watched: Watched, note: dict[str, object]
) -> None:
    """RabbitMQ 3 goes on with a note of a death that the sender has made up."""
    headers = {
        "x-death": [note],
        "x-original-exchange": "from.member",
        "x-original-routing-key": f"pod.exited.{VICTIM}",
        "x-attempts": "many",
        "x-reason": ["a"],
    }
    letters = DeadLetters(watched.broker.url("operator"))
    with intruder(watched.url(Principal.OUTSIDE)) as one:
        assert one.publish("jobs", "job.submit", headers=headers, expiration="0")
    found = eventually(lambda: letters.look("task.jobs"), "the letter")
    assert [letter.body for letter in found] == [FORGED]
    assert letters.replay("task.jobs") == 1
    method, properties, body = eventually(
        lambda: (got := watched.admin.basic_get("task.jobs", auto_ack=True))[0] and got,
        "the letter in its queue",
    )
    replayed = Delivery(
        *("task.jobs", 1, method.exchange, method.routing_key),
        *(properties.headers, properties.message_id, None, body),
    )
    assert replayed.sender is Principal.OUTSIDE
