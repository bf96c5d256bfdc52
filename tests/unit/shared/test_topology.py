"""The topology is consistent, and permissions are no wider than its rows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import topology
from shared.contracts import AlertChanged, JobAccepted, JobSubmit, SeriesRef, job_word
from shared.messaging import Bus, NotInTopology
from shared.topology import Principal

_IDENTIFIER = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?"


def test_every_message_that_is_consumed_can_reach_its_consumers_queue() -> None:
    for principal in Principal:
        queues = {q.name: q for q in topology.work_queues(principal, "i", "w")}
        for pattern, routes in topology.subscriptions(principal).items():
            bindings = queues[pattern.format(instance="i")].bindings
            assert {exchange for exchange, _ in bindings} == {r.exchange for r in routes}


def test_every_durable_work_queue_has_a_dead_letter_queue() -> None:
    for principal in Principal:
        names = [q.name for q in topology.work_queues(principal, "i")]
        for queue in topology.work_queues(principal, "i"):
            if queue.durable and not queue.name.endswith(".dead"):
                assert topology.dead_letter_name(queue.name) in names
                assert queue.arguments["x-dead-letter-routing-key"] == queue.name


@pytest.mark.parametrize("principal", [p for p in Principal if p is not Principal.OPERATOR])
def test_no_user_may_publish_another_principals_messages(principal: Principal) -> None:
    granted = {ex: re.compile(write) for ex, write, _ in topology.permissions(principal).topics}
    for route in topology.ROUTES:
        key = route.binding("a.b.c.d" if route.words == 4 else "a")
        allowed = granted[route.exchange].match(key) is not None
        assert allowed == (principal in route.publishers), route.message.TYPE


def test_a_member_may_touch_nothing_but_its_own_kind_of_queue() -> None:
    granted = topology.permissions(Principal.MEMBER)
    assert re.match(granted.configure, "member.job.worker-0.1")
    for name in ("task.jobs", "metrics.0", "jobs", "client.logs"):
        assert not re.match(granted.configure, name)
    assert not re.match(granted.read, "task.jobs")


def test_what_a_jobs_members_are_granted_is_of_their_rows_and_their_job() -> None:
    granted = topology.grants(Principal.MEMBER, "job1")
    names = {(grant.right, grant.resource, grant.key) for grant in granted}

    assert names == {
        ("configure", "member.job1.*", ""),
        ("write", "member.job1.*", ""),
        ("read", "member.job1.*", ""),
        ("write", "jobs", "pod.reported.job1"),
        ("write", "jobs", "pod.started.job1"),
        ("write", "jobs", "pod.measured.job1"),
        ("write", "jobs", "pod.exited.job1"),
        ("write", "jobs", "log.appended.job1"),
        ("read", "jobs", "clusterspec.ready.job1"),
        ("read", "jobs", "pod.fenced.job1"),
    }


@given(st.from_regex(_IDENTIFIER, fullmatch=True), st.from_regex(_IDENTIFIER, fullmatch=True))
def test_no_two_jobs_share_a_word_and_none_has_a_part_of_anothers_queue(a: str, b: str) -> None:
    assert (job_word(a) == job_word(b)) == (a == b)
    assert "." not in job_word(a)
    # What a wildcard behind the word takes in is that job's alone.
    assert f"{job_word(b)}.worker-0.1".startswith(f"{job_word(a)}.") == (a == b)


def test_a_bus_refuses_to_publish_what_the_table_does_not_list() -> None:
    bus = Bus("amqp://nobody:x@127.0.0.1:1/", Principal.CLIENT)
    with pytest.raises(NotInTopology, match=r"client may not publish job\.accepted"):
        bus.prepare(JobAccepted.model_construct(job_id="a"))
    with pytest.raises(NotInTopology, match="partitions"):
        bus.publish_partition(0, b"", "m")


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
