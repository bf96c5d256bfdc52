"""Tests of what is noted of members and jobs, and how it is told; no server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.client import handlers
from services.client.description import MAX_MEMBERS
from services.client.drawing import draw
from services.client.moments import MAX_MOMENTS, lines_of, named
from services.client.projects import ALL
from services.client.records import MOMENTS, Moment
from shared.contracts import (
    ClusterSpecReady,
    JobAccepted,
    JobFailed,
    JobPending,
    JobPlanned,
    JobRemoved,
    JobRetrying,
    JobRunning,
    JobSubmit,
    JobSucceeded,
    LogAppended,
    Member,
    PodExited,
    PodMeasured,
    PodReported,
    PodStarted,
)
from tests.unit.client.test_api import JOB, NOW, Desk, event

CLUSTER = JOB | {
    "type": "distribute",
    "ps": 1,
    "workers": 2,
    "role_resources": {"ps": {"cpu": 0.5, "memory": "512Mi"}},
}
PS, ONE, TWO = (
    Member(role=role, index=index, incarnation=1)
    for role, index in (("ps", 0), ("worker", 0), ("worker", 1))
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def reported(member: Member, seconds: float, port: int = 1000) -> PodReported:
    return PodReported(
        job_id="a",
        member=member,
        host="10.0.0.1",
        port=port,
        node="node-1",
        pod="pod-1",
        at=at(seconds),
    )


def started(member: Member, seconds: float, epoch: int = 1) -> PodStarted:
    return PodStarted(job_id="a", member=member, epoch=epoch, at=at(seconds))


def exited(member: Member, seconds: float, code: int = 0, **fields: Any) -> PodExited:
    return PodExited(job_id="a", member=member, exit_code=code, at=at(seconds), **fields)


def desk_with_a_cluster() -> Iterator[Desk]:
    """The application, which knows of an accepted job of one ps and two workers."""
    made = Desk()
    accepted = event(JobAccepted, 1, "accepted", submit=JobSubmit.model_validate(CLUSTER))
    made.hear(handlers.job_event, accepted)
    yield made
    made.store.close()


desk = pytest.fixture(desk_with_a_cluster, name="desk")


def measured(member: Member, seconds: float, cores: float, memory: int) -> PodMeasured:
    return PodMeasured(
        job_id="a", member=member, cpu_cores=cores, memory_bytes=memory, at=at(seconds)
    )


def removed_job() -> JobRemoved:
    return JobRemoved(job_id="a", name="x", state="succeeded", sequence=999, at=at(999))


def hear(desk: Desk, *messages: Any) -> None:
    table = {
        PodReported: handlers.pod_reported,
        PodStarted: handlers.pod_started,
        PodExited: handlers.pod_exited,
        PodMeasured: handlers.pod_measured,
        ClusterSpecReady: handlers.clusterspec_ready,
        LogAppended: handlers.log_appended,
        JobPlanned: handlers.job_planned,
    }
    for message in messages:
        desk.hear(table.get(type(message), handlers.job_event), message)


def described(desk: Desk) -> dict[str, Any]:
    return desk.call("GET", "/api/v1/jobs/a/description").json()


def stands(desk: Desk) -> dict[str, str]:
    return {f"{m['role']}-{m['index']}": m["stands"] for m in described(desk)["members"]}


def test_members_nobody_heard_of_are_shown_and_awaited(desk: Desk) -> None:
    assert stands(desk) == {"ps-0": "awaited", "worker-0": "awaited", "worker-1": "awaited"}
    asked = {m["role"]: m["asked"]["memory"] for m in described(desk)["members"]}
    assert asked == {"ps": "512Mi", "worker": "2048Mi"}


def test_a_members_way_is_followed_and_repeated_reports_change_nothing(desk: Desk) -> None:
    hear(desk, reported(ONE, 2), reported(ONE, 3), started(ONE, 4), reported(ONE, 13))
    (member,) = [m for m in described(desk)["members"] if m["address"]]
    assert (member["stands"], member["node"], member["pod"]) == ("running", "node-1", "pod-1")
    kinds = [line["kind"] for line in described(desk)["timeline"]]
    assert kinds == ["accepted", "reported", "started"]


def test_the_one_reason_it_waits_for_is_told_with_the_next_step(desk: Desk) -> None:
    pending = event(
        JobPending,
        2,
        "starting",
        reason="no node has 8 cores free",
        cause="unschedulable",
        advice="ask for fewer cores",
        members=("worker-1",),
    )
    hear(desk, pending)
    told_of = described(desk)["job"]["pending"]
    assert (told_of["cause"], told_of["advice"]) == ("unschedulable", "ask for fewer cores")
    assert next(iter(stands(desk).items())) == ("worker-1", "pending")
    page = desk.call("GET", "/jobs/a").text
    assert "no node has 8 cores free" in page
    assert "ask for fewer cores" in page

    hear(desk, event(JobRunning, 3, "running", attempt=1))
    assert described(desk)["job"]["pending"] is None


def test_pending_counts_from_when_its_cause_began(desk: Desk) -> None:
    for sequence, cause in ((2, "image"), (3, "image"), (4, "quota")):
        fields = {"reason": "r", "cause": cause, "advice": "a"}
        hear(desk, event(JobPending, sequence, "starting", **fields))
        since = datetime.fromisoformat(described(desk)["job"]["pending"]["since"])
        assert since == at(4 if cause == "quota" else 2)


def test_a_replaced_member_is_the_next_incarnation_and_its_late_news_count_no_more(
    desk: Desk,
) -> None:
    lost = {"attempt": 2, "failure_class": "infrastructure", "member": "worker-0"}
    hear(desk, reported(ONE, 2), started(ONE, 3), exited(ONE, 4, -9))
    assert stands(desk)["worker-0"] == "failed"
    hear(desk, event(JobRetrying, 2, "retrying", **lost))
    assert stands(desk)["worker-0"] == "replacing"

    again = ONE.model_copy(update={"incarnation": 2})
    hear(desk, reported(again, 6), started(ONE, 3.5), started(again, 7, epoch=2))
    view = described(desk)
    (member,) = [m for m in view["members"] if m["incarnation"] == 2]
    assert (member["stands"], member["exit_code"], member["epoch"]) == ("running", None, 2)
    assert view["job"]["retries"] == {"infrastructure": 1}


def test_a_retry_heard_late_or_twice_is_counted_once(desk: Desk) -> None:
    lost = {"attempt": 2, "failure_class": "preemption", "member": "worker-0"}
    retrying = event(JobRetrying, 2, "retrying", **lost)
    hear(desk, event(JobRunning, 3, "running", attempt=2), retrying, retrying)
    job = described(desk)["job"]
    assert (job["state"], job["retries"]) == ("running", {"preemption": 1})


def test_how_members_ended_is_in_words_and_those_at_fault_come_first(desk: Desk) -> None:
    stopped = {"fault": "stopped by the platform", "infrastructure": True}
    hear(desk, exited(TWO, 5, -9, oom=True, last_lines=("tail",)), exited(PS, 6, -15, **stopped))
    failed = {"failure_class": "oom", "member": "worker-1", "exit_code": -9}
    hear(desk, event(JobFailed, 2, "failed", **failed))
    members = described(desk)["members"]
    assert (members[0]["how"], members[0]["last_lines"]) == (
        "exit code -9 (SIGKILL), out of memory",
        ["tail"],
    )
    assert stands(desk) == {"worker-1": "failed", "worker-0": "never ran", "ps-0": "stopped"}


def test_what_is_stopped_at_a_good_end_did_not_fail(desk: Desk) -> None:
    hear(desk, started(PS, 2), started(ONE, 2), exited(ONE, 3), exited(PS, 4, -15, fault="stopped"))
    hear(desk, started(TWO, 2), event(JobSucceeded, 5, "succeeded"))
    assert stands(desk) == {"ps-0": "stopped", "worker-0": "ended", "worker-1": "stopped"}


def test_use_is_the_newest_told_and_the_peak_stays(desk: Desk) -> None:
    hear(desk, started(ONE, 2), started(PS, 2))
    for seconds, cores, memory in ((10, 1.5, 900), (30, 0.5, 500), (20, 9.0, 700)):
        hear(desk, measured(ONE, seconds, cores, memory))
    (job,) = desk.call("GET", "/api/v1/usage").json()
    assert (job["running"], job["measured"], job["cpu_used"], job["memory_used"]) == (
        2,
        1,
        0.5,
        500,
    )
    assert (job["cpu_asked"], job["memory_asked"]) == (2.5, 2**29 + 2 * 2**31)
    members = desk.call("GET", "/api/v1/jobs/a/usage").json()["members"]
    assert [m["memory_peak_bytes"] for m in members] == [None, 900, None]
    hear(desk, event(JobSucceeded, 5, "succeeded"))
    assert desk.call("GET", "/api/v1/usage").json() == []
    assert desk.call("GET", "/api/v1/jobs/none/usage").status_code == 404


def test_use_is_kept_over_time_after_the_end_and_drawn_on_the_page(desk: Desk) -> None:
    hear(desk, started(ONE, 2), started(PS, 2))
    for seconds in range(10, 130, 10):
        hear(desk, measured(ONE, seconds, 1.5, seconds * 2**20), measured(PS, seconds, 0.1, 2**25))
    hear(desk, event(JobSucceeded, 200, "succeeded"))
    table = desk.call("GET", "/api/v1/jobs/a/usage.csv").text.splitlines()
    assert table[0] == "member,time,cpu_cores,memory_bytes,seconds"
    assert table[12] == "worker-0,2026-01-01T00:02:00+00:00,1.5,125829120,10"
    assert len(table) == 1 + 2 * 12
    page = desk.call("GET", "/jobs/a").text
    assert "worker-0 at most 1.5 cores, last 1.5 cores; ps-0 at most 0.1 cores" in page
    assert page.count('<polyline class="line m1"') == 2
    assert "120 MiB of 2048Mi" in page
    hear(desk, removed_job())
    assert desk.call("GET", "/api/v1/jobs/a/usage.csv").status_code == 404
    assert desk.model.usage_curves("a", 0, 10) == []


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ((), "It ran out of its 2048Mi before it was measured; try -m 4Gi."),
        ((900, 900, 900, 900), "It held 900Mi of its 2048Mi when measured, so it asked for more"),
        (range(200, 2000, 50), "and grew by about 300Mi a minute until the end: try -m 4Gi"),
    ],
)
def test_who_ran_out_of_memory_is_told_what_was_measured(
    desk: Desk, held: Sequence[int], said: str
) -> None:
    hear(desk, started(ONE, 2))
    for number, mebibytes in enumerate(held):
        hear(desk, measured(ONE, 10 + 10 * number, 1, mebibytes * 2**20))
    hear(desk, exited(ONE, 900, 137, oom=True))
    (member,) = [m for m in described(desk)["members"] if m["oom"]]
    assert said in member["memory_advice"]
    assert said in desk.call("GET", "/jobs/a").text


def test_many_members_are_told_in_one_line_and_few_in_the_list(desk: Desk) -> None:
    many = JobSubmit.model_validate(CLUSTER | {"job_id": "b", "workers": 1000})
    accepted = JobAccepted(job_id="b", name="x", state="accepted", sequence=1, at=NOW, submit=many)
    hear(desk, accepted)
    for index in range(300):
        member = Member(role="worker", index=index, incarnation=1)
        message = reported(member, 2 + index / 100).model_copy(update={"job_id": "b"})
        hear(desk, message)
    view = desk.call("GET", "/api/v1/jobs/b/description").json()
    assert (len(view["members"]), view["members_total"]) == (MAX_MEMBERS, 1001)
    assert [line["whom"] for line in view["timeline"]] == [
        "",
        "worker-0, worker-1, worker-2 and 297 more",
    ]


def test_no_more_is_kept_than_the_newest_and_the_jobs_own_moments_stay(desk: Desk) -> None:
    for number in range(MAX_MOMENTS + 20):
        hear(desk, started(ONE, number, epoch=number + 1))
    with desk.store.transaction() as records:
        kept = records.find(MOMENTS, group="a", limit=10_000)
    assert len([m for m in kept if m.member]) == MAX_MOMENTS
    assert [m.kind for m in kept if not m.member] == ["accepted"]
    assert min(m.at for m in kept if m.member) == at(20)


def test_lines_are_joined_only_where_they_say_the_same() -> None:
    def moment(member: str, seconds: float, text: str) -> Moment:
        return Moment(
            job_id="a",
            id=f"{member}/{seconds}",
            at=at(seconds),
            kind="exited",
            text=text,
            member=member,
        )

    lines = lines_of(
        [
            moment("worker-0", 1, "exit code 0"),
            moment("ps-0", 2, "stopped"),
            moment("worker-1", 3, "exit code 0"),
            moment("worker-0", 4, "exit code 0"),
            moment("worker-2", 90, "exit code 0"),
        ]
    )
    assert [(line.members, line.text) for line in lines] == [
        (("worker-0", "worker-1"), "exit code 0"),
        (("ps-0",), "stopped"),
        (("worker-0",), "exit code 0"),
        (("worker-2",), "exit code 0"),
    ]
    assert named(("a", "b", "c", "d")) == "a, b, c, d"


def test_nothing_of_a_removed_job_stays_or_comes_back(desk: Desk) -> None:
    hear(desk, reported(ONE, 2), event(JobRemoved, 9, "failed"), reported(TWO, 3), exited(ONE, 4))
    assert desk.call("GET", "/api/v1/jobs/a/description").status_code == 404
    with desk.store.transaction() as records:
        assert records.find(MOMENTS, group="a") == []


def test_a_plan_is_asked_answered_and_never_of_others(desk: Desk) -> None:
    asked = desk.call("POST", "/api/v1/plans", json={"name": "x", "main": "m.py"})
    assert asked.status_code == 202
    (message,) = desk.sent
    assert message.job.package == "barograph:packages:not-uploaded.tar.gz"
    path = f"/api/v1/plans/{message.request_id}"
    assert desk.call("GET", path).json()["answer"] is None

    answer = JobPlanned(
        request_id=message.request_id, runtime="local", roles=(), cpu=1, memory_bytes=1, at=NOW
    )
    other = answer.model_copy(update={"request_id": "plan-of-another"})
    hear(desk, other, answer)
    assert desk.call("GET", path, params={"wait_s": 5}).json()["answer"]["runtime"] == "local"
    assert desk.call("GET", f"/api/v1/plans/plan-{'0' * 32}").status_code == 404
    desk.model.prune(datetime.now(UTC) + timedelta(hours=2))
    assert desk.call("GET", path).status_code == 404


def test_a_plan_of_a_faulty_job_names_its_faults(desk: Desk) -> None:
    wrong = desk.call("POST", "/api/v1/plans", json={"name": "x", "main": "../m.py", "gpus": 1})
    assert wrong.status_code == 422
    assert [f["field"] for f in wrong.json()["faults"]] == ["main"]
    assert desk.sent == []


def test_logs_are_found_by_member_and_incarnation(desk: Desk) -> None:
    for member, incarnation, text in (
        ("worker-10", 1, "ten"),
        ("worker-2", 1, "first"),
        ("worker-2", 2, "second"),
    ):
        key = f"jobs/a/logs/{member}/{incarnation}/00000000.log"
        desk.objects.put("barograph", key, text.encode())
    base = "/api/v1/jobs/a/logs"
    parts = desk.call("GET", f"{base}/parts").json()
    assert [(p["member"], p["incarnation"], p["size"]) for p in parts] == [
        ("worker-2", 1, 5),
        ("worker-2", 2, 6),
        ("worker-10", 1, 3),
    ]
    assert desk.call("GET", base, params={"previous": True}).text == "first"
    assert desk.call("GET", base, params={"member": "worker-2", "incarnation": 2}).text == "second"
    # A third incarnation that has printed nothing yet makes the second the previous one.
    hear(desk, reported(Member(role="worker", index=2, incarnation=3), 9))
    assert desk.call("GET", base, params={"previous": True}).text == "second"


def test_the_timeline_is_drawn_to_scale_with_every_end_marked(desk: Desk) -> None:
    hear(
        desk,
        event(JobRunning, 10, "running", attempt=1),
        started(ONE, 10),
        exited(ONE, 20, -9),
        event(JobSucceeded, 21, "succeeded"),
    )
    with desk.store.transaction() as records:
        noted = records.find(MOMENTS, group="a")
    drawing = draw(desk.model.description("a", at(99), ALL), noted)
    rows = {row.name: row for row in drawing.rows}
    assert list(rows) == ["job", "ps-0", "worker-0", "worker-1"]
    waited, ran = rows["job"].bars
    assert (waited.phase, ran.phase) == ("waiting", "running")
    assert ran.width / waited.width == pytest.approx(11 / 9)
    (killed,) = rows["worker-0"].marks
    assert (killed.how, killed.title) == ("failed", "exited: exit code -9 (SIGKILL)")
    assert killed.x == pytest.approx(rows["worker-0"].bars[0].x + rows["worker-0"].bars[0].width)
    assert rows["worker-1"].bars == ()
    assert [tick.text for tick in drawing.ticks][:2] == ["0", "+5.0s"]


def test_the_page_draws_the_cluster_spec_with_its_epochs_and_the_machine_names_its_members(
    desk: Desk,
) -> None:
    for number, member in enumerate((PS, ONE, TWO)):
        desk.hear(handlers.pod_reported, reported(member, 1, port=1000 + number))
        desk.hear(handlers.pod_started, started(member, 3))
    for epoch in (1, 2):
        cluster = {"ps": ("10.0.0.1:1000",), "worker": ("10.0.0.1:1001", "10.0.0.1:1002")}
        spec = {"job_id": "a", "epoch": epoch, "cluster": cluster, "members": (PS, ONE, TWO)}
        message = ClusterSpecReady.model_validate(spec | {"at": at(epoch)})
        desk.hear(handlers.clusterspec_ready, message)
    desk.hear(handlers.job_event, event(JobRunning, 2, "running", epoch=2, attempt=1))
    page = desk.call("GET", "/jobs/a").text
    assert "ClusterSpec, epoch 2" in page
    assert page.count("<code>10.0.0.1:100") == 3
    assert "2 epochs" in page
    ((view, names),) = desk.model.members_on("node-1", ALL)
    assert (view.job_id, names) == ("a", ["ps-0", "worker-0", "worker-1"])
    assert desk.model.members_on("node-2", ALL) == []
    desk.hear(handlers.pod_exited, exited(ONE, 5))
    assert desk.model.members_on("node-1", ALL)[0][1] == ["ps-0", "worker-1"]
