"""Tests of why a job does not start: every cause, and which of several is told."""

from __future__ import annotations

from typing import Any

import pytest

from services.task.runtime import Pending
from services.task.runtimes.kubernetes.pending import Seen, dominant, given_back, unschedulable
from shared.cluster import Object
from shared.contracts import PendingCause
from tests.unit.task.kubernetes.objects import job, pod, waits, warning

NO_NODE: dict[str, Any] = {
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.",
        }
    ]
}
PREEMPTION = (
    "0/5 nodes are available: 3 Insufficient cpu, 2 node(s) had taint {a: b}. preemption:"
    " 0/5 nodes are available: 5 No preemption victims found."
)
QUOTA = 'pods "p" is forbidden: exceeded quota: team, requested: pods=1, used: pods=2'


def told(**seen: Any) -> Pending:
    found = dominant(Seen(**{"jobs": [job(active=2)], "pods": [], **seen}))
    assert found is not None
    assert found.advice
    return found


def test_nothing_in_the_way_is_no_reason() -> None:
    running = pod(node="n", phase="Running", startTime="2026-01-01T00:00:00Z")
    assert dominant(Seen([job(active=2)], [running])) is None
    assert dominant(Seen([], [])) is None


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"]
)
def test_an_image_that_cannot_be_had_is_told_with_its_container(reason: str) -> None:
    found = told(pods=[pod(node="n", **waits(reason, "back-off"))])
    assert found.cause is PendingCause.IMAGE
    assert found.reason == f"program: {reason}: back-off"
    assert found.members == ("worker-0",)


def test_the_registrys_own_words_come_before_the_back_off() -> None:
    words = 'Failed to pull image "x:1": not found'
    found = told(
        pods=[pod(node="n", **waits("ImagePullBackOff", "back-off"))],
        warnings=[warning("uid-worker-0", "Failed", words), warning("other", "Failed", "pull y")],
    )
    assert words in found.reason


def test_a_container_that_cannot_be_made_is_an_admission_matter() -> None:
    found = told(pods=[pod(node="n", **waits("CreateContainerConfigError", "runAsNonRoot"))])
    assert (found.cause, found.reason) == (
        PendingCause.ADMISSION,
        "program: CreateContainerConfigError: runAsNonRoot",
    )


@pytest.mark.parametrize(
    ("message", "cause"),
    [(QUOTA, PendingCause.QUOTA), ("violates PodSecurity", PendingCause.ADMISSION)],
)
def test_pods_the_job_controller_cannot_make_are_told(message: str, cause: PendingCause) -> None:
    found = told(jobs=[job()], warnings=[warning("uid-job", "FailedCreate", message)])
    assert found.cause is cause
    assert message in found.reason


def test_an_old_refusal_says_nothing_once_all_pods_are_there() -> None:
    old = [warning("uid-job", "FailedCreate", QUOTA)]
    assert dominant(Seen([job(active=2)], [], old)) is None


@pytest.mark.parametrize(
    ("message", "cause"),
    [(QUOTA, PendingCause.QUOTA), ("denied by policy", PendingCause.ADMISSION)],
)
def test_objects_the_api_server_refuses_are_told(message: str, cause: PendingCause) -> None:
    assert told(jobs=[], refused=message).cause is cause


def test_a_volume_that_cannot_be_mounted_is_told() -> None:
    found = told(
        pods=[pod(node="n")], warnings=[warning("uid-worker-0", "FailedMount", "no such secret")]
    )
    assert (found.cause, found.reason) == (PendingCause.VOLUME, "no such secret")


@pytest.mark.parametrize(
    ("message", "cause"),
    [(QUOTA, PendingCause.QUOTA), ("denied by policy", PendingCause.ADMISSION)],
)
def test_a_claim_of_devices_that_cannot_be_made_is_told(message: str, cause: PendingCause) -> None:
    """The scheduler does not look at such a pod and says nothing about it."""
    refused = [warning("uid-worker-0", "FailedResourceClaimCreation", message)]
    found = told(pods=[pod()], warnings=refused)
    assert (found.cause, found.members) == (cause, ("worker-0",))
    assert message in found.reason


def test_an_old_refusal_of_a_claim_says_nothing_once_it_is_there() -> None:
    refused = [warning("uid-worker-0", "FailedResourceClaimCreation", QUOTA)]
    made = pod(resourceClaimStatuses=[{"name": "gpu", "resourceClaimName": "j-0-gpu-x7k2m"}])
    assert dominant(Seen([], [made], refused)) is None


def test_pods_without_a_node_are_told_together() -> None:
    found = told(pods=[pod("worker-1", **NO_NODE), pod("worker-0", **NO_NODE)])
    assert found.cause is PendingCause.UNSCHEDULABLE
    assert found.reason == "no node of 3 can take it: cpu is short on 3"
    assert found.members == ("worker-0", "worker-1")


def test_a_node_that_does_not_begin_is_named() -> None:
    found = told(pods=[pod(node="n7")])
    assert (found.cause, found.reason) == (PendingCause.NODE, "node n7 has not begun with it")


def test_a_gang_tells_why_it_is_held() -> None:
    gated = [pod("worker-0", gates=True), pod("worker-1", gates=True)]
    assert told(pods=gated, held="waits behind job a").reason == "waits behind job a"
    found = told(pods=gated)
    assert (found.cause, found.reason) == (
        PendingCause.GANG,
        "2 of 2 pods wait for the rest of them",
    )


def test_a_queue_is_told_with_the_words_of_kueue() -> None:
    queued = job(queue="team")
    workload = {
        "metadata": {"ownerReferences": [{"uid": "uid-job"}]},
        "status": {
            "conditions": [
                {"type": "QuotaReserved", "status": "False", "message": "insufficient quota"}
            ]
        },
    }
    found = told(jobs=[queued], workloads=[workload])
    assert found.cause is PendingCause.QUEUE
    assert found.reason == "waits in Kueue's queue team: insufficient quota"
    assert told(jobs=[queued]).reason == "waits in Kueue's queue team"


def test_a_place_in_the_queue_comes_before_the_words_of_kueue() -> None:
    workload = {"metadata": {"ownerReferences": [{"uid": "uid-job"}]}, "place": "2nd of 5"}
    found = told(jobs=[job(queue="team")], workloads=[workload])
    assert found.reason == "waits in Kueue's queue team, 2nd of 5"


def test_a_job_kueue_has_admitted_waits_in_no_queue() -> None:
    admitted = job(queue="team", active=2)
    admitted["spec"]["suspend"] = False
    assert dominant(Seen([admitted], [])) is None


def test_what_no_waiting_heals_comes_first() -> None:
    in_the_way: dict[PendingCause, Object] = {
        PendingCause.IMAGE: pod("worker-0", node="n", **waits("ErrImagePull")),
        PendingCause.ADMISSION: pod("worker-0", node="n", **waits("CreateContainerError")),
        PendingCause.UNSCHEDULABLE: pod("worker-0", **NO_NODE),
        PendingCause.NODE: pod("worker-0", node="n"),
        PendingCause.GANG: pod("worker-0", gates=True),
    }
    ranked = sorted(in_the_way, key=list(PendingCause).index)
    for number, cause in enumerate(ranked):
        rest = [in_the_way[other] for other in reversed(ranked[number:])]
        assert told(pods=rest).cause is cause


def test_pods_that_have_ended_or_are_leaving_say_nothing() -> None:
    left = pod(deleted="2026-01-01T00:00:00Z", **NO_NODE)
    assert dominant(Seen([job(active=2)], [left, pod(phase="Failed", **NO_NODE)])) is None


def test_a_reason_is_never_endless() -> None:
    assert len(told(jobs=[], refused="x" * 5000).reason) <= 400


def test_a_cluster_that_gives_back_is_overdue() -> None:
    assert given_back().overdue
    assert given_back().cause is PendingCause.GANG


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            PREEMPTION,
            "no node of 5 can take it: cpu is short on 3; 2 node(s) had taint {a: b}",
        ),
        (
            "0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 Insufficient memory.",
            "no node of 2 can take it: nvidia.com/gpu is short on 1; memory is short on 1",
        ),
        ("0/0 nodes are available: .", "the cluster has no node"),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("", "no node can take it"),
    ],
)
def test_the_schedulers_message_becomes_a_sentence(message: str, sentence: str) -> None:
    assert unschedulable(message) == sentence
