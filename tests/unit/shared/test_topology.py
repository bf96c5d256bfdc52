"""The topology is consistent, and permissions are no wider than its rows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import topology
from shared.contracts import (
    AlertChanged,
    JobAccepted,
    JobSubmit,
    PodExited,
    SeriesRef,
    job_word,
)
from shared.messaging import Bus, NotInTopology
from shared.topology import Principal

_IDENTIFIER = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?"


def test_every_message_that_is_consumed_can_reach_its_consumers_queue() -> None:
    for principal in Principal:
        queues = {q.name: q for q in topology.work_queues(principal, "i", "w")}
        for pattern, routes in topology.subscriptions(principal).items():
            bindings = queues[pattern.format(instance="i")].bindings
            own = {topology.own_queues_exchange(principal)}
            sources = {exchange for route in routes for exchange in topology.sources(route)}
            assert {exchange for exchange, _ in bindings} - own == sources


def test_every_durable_work_queue_has_a_dead_letter_queue() -> None:
    for principal in Principal:
        names = [q.name for q in topology.work_queues(principal, "i")]
        for queue in topology.work_queues(principal, "i"):
            if queue.durable and not queue.name.endswith(".dead"):
                assert topology.dead_letter_name(queue.name) in names
                dead = topology.dead_letter_name(queue.name)
                assert queue.arguments["x-dead-letter-routing-key"] == dead


_PRINCIPALS = [p for p in Principal if p is not Principal.OPERATOR]


@pytest.mark.parametrize("principal", _PRINCIPALS)
def test_no_user_may_publish_another_principals_messages(principal: Principal) -> None:
    granted = {ex: re.compile(write) for ex, write, _ in topology.permissions(principal).topics}
    for route in topology.ROUTES:
        key = route.binding("a")
        allowed = {e for e, pattern in granted.items() if pattern.match(key)}
        publishes = principal in route.publishers
        assert allowed == (
            {topology.publishing_exchange(principal, route)} if publishes else set()
        ), route.message.TYPE


@pytest.mark.parametrize("principal", _PRINCIPALS)
def test_only_its_sender_may_write_to_an_exchange(principal: Principal) -> None:
    write = re.compile(topology.permissions(principal).write)
    for exchange in topology.exchanges():
        if topology.sender(exchange.name) not in (principal, None):
            assert not write.match(exchange.name), exchange.name
        if exchange.internal:
            assert not write.match(exchange.name), exchange.name


@pytest.mark.parametrize("principal", _PRINCIPALS)
def test_nobody_may_declare_or_delete_an_exchange_of_the_platform(principal: Principal) -> None:
    configure = re.compile(topology.permissions(principal).configure)
    named = [exchange.name for exchange in topology.exchanges()]
    assert [name for name in [*named, "amq.default"] if configure.match(name)] == []
    assert not re.match(topology.permissions(principal).write, "amq.default")


def test_a_queue_takes_messages_only_of_those_the_table_names() -> None:
    for principal in Principal:
        for queue in topology.work_queues(principal, "i", "w"):
            for exchange, key in queue.bindings:
                sender = topology.sender(exchange)
                if sender is None:
                    assert exchange == topology.own_queues_exchange(principal)
                    continue
                route = next(r for r in topology.ROUTES if key in (r.binding("w"), r.binding()))
                assert sender in route.publishers


def test_inboxes_and_outlets_are_where_users_may_publish_and_receive() -> None:
    for route in topology.ROUTES:
        assert bool(route.inbox) == (Principal.OUTSIDE in route.publishers), route.message.TYPE
        assert not set(route.publishers) & set(route.planned), route.message.TYPE
        assert route.publishers or route.planned, route.message.TYPE
        assert route.consumers or route.outlet, f"nobody receives {route.message.TYPE}"


def test_a_member_may_make_nothing_but_queues_that_the_broker_names() -> None:
    granted = topology.permissions(Principal.MEMBER)
    assert re.match(granted.configure, "amq.gen-x4vU1Cn3")
    for name in ("member.job.worker-0.1", "task.jobs", "metrics.0", "jobs", "client.logs"):
        assert not re.match(granted.configure, name)
    assert not re.match(granted.read, "task.jobs")


def test_what_a_jobs_members_are_granted_is_of_their_rows_and_their_job() -> None:
    granted = topology.grants(Principal.MEMBER, "job1")
    names = {(grant.right, grant.resource, grant.key) for grant in granted}

    assert names == {
        ("configure", "amq.gen-*", ""),
        ("write", "amq.gen-*", ""),
        ("read", "amq.gen-*", ""),
        ("write", "from.member", "pod.reported.job1"),
        ("write", "from.member", "pod.started.job1"),
        ("write", "from.member", "pod.measured.job1"),
        ("write", "from.member", "pod.exited.job1"),
        ("write", "from.member", "log.appended.job1"),
        ("read", "from.autospec", "clusterspec.ready.job1"),
        ("read", "from.autospec", "pod.fenced.job1"),
    }


@given(st.from_regex(_IDENTIFIER, fullmatch=True), st.from_regex(_IDENTIFIER, fullmatch=True))
def test_no_two_jobs_share_a_word_and_none_has_a_part_of_anothers_queue(a: str, b: str) -> None:
    assert (job_word(a) == job_word(b)) == (a == b)
    assert "." not in job_word(a)
    # A wildcard behind the word takes in that job's alone.
    assert f"{job_word(b)}.worker-0.1".startswith(f"{job_word(a)}.") == (a == b)


def test_a_bus_refuses_to_publish_what_the_table_does_not_list() -> None:
    bus = Bus("amqp://nobody:x@127.0.0.1:1/", Principal.CLIENT)
    with pytest.raises(NotInTopology, match=r"client may not publish job\.accepted"):
        bus.prepare(JobAccepted.model_construct(job_id="a"))
    with pytest.raises(NotInTopology, match="partitions"):
        bus.publish_partitions([(0, b"", "m")])


def test_a_bus_refuses_to_consume_a_queue_the_table_does_not_list() -> None:
    bus = Bus("amqp://nobody:x@127.0.0.1:1/", Principal.CLIENT)
    with pytest.raises(NotInTopology, match=r"client may not consume task\.jobs"):
        bus.consume("task.jobs", lambda _: None)


def test_an_alerts_key_is_made_for_patterns() -> None:
    alert = AlertChanged.model_construct(
        state="predicted",
        severity="critical",
        family="disk",
        series=SeriesRef(host="host17.example.org", item="df.bytes.used.percent"),
    )
    assert alert.routing_key() == "alert.predicted.critical.disk.host17-example-org"


def test_a_commands_key_is_its_type() -> None:
    assert topology.route_of(JobSubmit).binding() == "job.submit"


def test_a_key_with_words_that_vary_is_bound_as_a_whole_or_for_one_word() -> None:
    route = topology.route_of(PodExited)
    assert route.key == "pod.exited.{job}"
    assert (route.binding(), route.binding("a")) == ("pod.exited.#", "pod.exited.a")
    assert route.matches("pod.exited.a")
    assert not route.matches("pod.exited")
    assert not route.matches("pod.exited.")
