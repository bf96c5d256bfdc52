"""Tests of what a pod says of its member: who it is, and how it ended."""

from __future__ import annotations

from typing import Any

import pytest

from services.task.failures import classify
from services.task.records import Exit
from services.task.runtimes.kubernetes import names, pods
from shared.contracts import FailureClass, Member, Role
from tests.unit.task.kubernetes.objects import disrupted, ended, pod, waits


def test_the_first_pod_of_a_job_is_its_members_first_incarnation() -> None:
    assert pods.member(pod("worker-1")) == Member(role=Role.WORKER, index=1, incarnation=1)


@pytest.mark.parametrize(
    ("failed", "ignored", "base", "incarnation"),
    [("0", "0", "0", 1), ("2", "0", "0", 3), ("1", "2", "0", 4), ("1", "1", "5", 8)],
)
def test_failures_disruptions_and_earlier_jobs_count_as_incarnations(
    failed: str, ignored: str, base: str, incarnation: int
) -> None:
    notes = {names.FAILED: failed, names.IGNORED: ignored, names.BASE: base}
    assert pods.incarnation(pod(annotations=notes)) == incarnation


def test_a_pod_without_an_index_is_nobody() -> None:
    stranger = pod()
    stranger["metadata"]["labels"] = {}
    assert pods.member(stranger) is None


@pytest.mark.parametrize(
    "notes",
    [
        {names.INDEX: "none"},
        {names.INDEX: "-1"},
        {names.INDEX: "99999"},
        {names.BASE: "x"},
        {names.FAILED: "-5"},
        {names.IGNORED: "9" * 30},
        {names.ROLES: "cook=1"},
        {names.ROLES: "worker=many"},
    ],
)
def test_a_pod_whose_annotations_somebody_has_written_is_nobody(notes: dict[str, str]) -> None:
    stranger = pod(annotations=notes)
    if names.ROLES in notes:
        stranger["metadata"]["labels"][names.GROUP] = names.ALL
    assert pods.member(stranger) is None


def test_a_job_whose_base_somebody_has_written_begins_at_the_first_incarnation() -> None:
    assert pods.base({"metadata": {"annotations": {names.BASE: "x"}}}) == 0


def test_only_a_pod_that_has_ended_is_not_alive() -> None:
    alive = {phase: pods.alive(pod(phase=phase)) for phase in ("Pending", "Running", "Unknown")}
    assert all(alive.values())
    assert not pods.alive(pod(phase="Failed"))
    assert not pods.alive(pod(phase="Succeeded"))


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (3, "Error", "its init container clone ended with exit code 3"),
        (137, "OOMKilled", "its init container clone ran out of memory"),
        (139, "Error", "its init container clone was ended by signal 11"),
    ],
)
def test_an_init_container_of_the_jobs_own_that_fails_is_the_jobs_fault(
    code: int, reason: str, told: str
) -> None:
    fate = pods.fate(pod(**ended(code, "clone", reason=reason)))
    assert (fate.fault, classify(fate)) == (told, FailureClass.USER_ERROR)


def test_a_sidecar_that_went_with_its_pod_takes_no_blame() -> None:
    status = ended(0, phase="Succeeded") | {
        "initContainerStatuses": ended(143, "ship")["initContainerStatuses"]
    }
    assert pods.fate(pod(**status)) == Exit(exit_code=0)
    lost = disrupted("DeletionByTaintManager") | {
        "initContainerStatuses": ended(143, "ship")["initContainerStatuses"]
    }
    assert classify(pods.fate(pod(**lost))) is FailureClass.INFRASTRUCTURE


_ENDS: list[tuple[str, dict[str, Any], Exit, FailureClass | None]] = [
    ("success", ended(0, phase="Succeeded"), Exit(exit_code=0), None),
    ("exit code", ended(3), Exit(exit_code=3), FailureClass.USER_ERROR),
    ("signal", ended(139), Exit(exit_code=-11), FailureClass.UNKNOWN),
    ("killed by nobody we know", ended(137), Exit(exit_code=-9), FailureClass.INFRASTRUCTURE),
    ("signal field", ended(0, signal=6), Exit(exit_code=-6), FailureClass.UNKNOWN),
    (
        "out of memory",
        ended(137, reason="OOMKilled"),
        Exit(exit_code=-9, oom=True),
        FailureClass.OOM,
    ),
]


@pytest.mark.parametrize(("status", "fate", "failure"), [e[1:] for e in _ENDS])
def test_a_program_that_ended_by_itself_is_told_by_its_code(
    status: dict[str, Any], fate: Exit, failure: FailureClass | None
) -> None:
    told = pods.fate(pod(**status))
    assert told == fate
    if failure is not None:
        assert classify(told) is failure


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "PreemptionByKueue"])
def test_a_preempted_pod_is_told_as_such(reason: str) -> None:
    assert classify(pods.fate(pod(**disrupted(reason)))) is FailureClass.PREEMPTION


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("EvictionByEvictionAPI", "evicted"),
        ("DeletionByTaintManager", "lost or tainted"),
        ("DeletionByPodGC", "node is gone"),
        ("TerminationByKubelet", "node ended it"),
    ],
)
def test_what_took_a_pod_from_outside_is_said(reason: str, words: str) -> None:
    fate = pods.fate(pod(**disrupted(reason)))
    assert words in fate.fault
    assert classify(fate) is FailureClass.INFRASTRUCTURE


def test_a_disruption_nobody_has_heard_of_is_told_in_its_own_words() -> None:
    assert "maintenance" in pods.fate(pod(**disrupted("NewReason", "maintenance"))).fault


def test_a_disruption_that_was_called_off_took_nothing() -> None:
    status = ended(3)
    called_off = {"type": "DisruptionTarget", "status": "False", "reason": "PreemptionByScheduler"}
    assert pods.fate(pod(**status, conditions=[called_off])) == Exit(exit_code=3)


def test_the_kubelets_reason_is_told_where_no_condition_is() -> None:
    fate = pods.fate(pod(phase="Failed", reason="Evicted", message="low on ephemeral-storage"))
    assert fate.fault == "Evicted: low on ephemeral-storage"
    assert fate.infrastructure


def test_a_pod_that_left_no_word_is_lost_to_its_surroundings() -> None:
    assert classify(pods.fate(pod(phase="Failed"))) is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("container", "terminated", "words"),
    [
        (names.FETCH, {}, "its fetch container ended with code 2"),
        (names.LAUNCHER, {"reason": "OOMKilled"}, "its launcher container ran out of memory"),
    ],
)
def test_a_container_of_ours_that_failed_is_named(
    container: str, terminated: dict[str, str], words: str
) -> None:
    assert pods.fate(pod(**ended(2, container, **terminated))).fault == words


def test_every_waiting_container_is_told_with_reason_and_message() -> None:
    found = list(pods.waiting(pod(**waits("ErrImagePull", "no such tag"))))
    assert found == [("program", "ErrImagePull", "no such tag")]


def test_requests_of_sidecars_count_and_those_of_init_containers_do_not() -> None:
    asked = {"resources": {"requests": {"cpu": "1"}}}
    kept = pods.keep(
        {
            "metadata": {
                "namespace": "n",
                "name": "p",
                "uid": "u",
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "containers": [asked],
                "initContainers": [asked, asked | {"restartPolicy": "Always"}],
            },
        }
    )
    assert kept["spec"]["requests"] == [{"cpu": "1"}, {"cpu": "1"}]


def test_a_killed_launcher_is_no_word_of_its_own_either() -> None:
    fate = pods.fate(pod(**ended(137, names.LAUNCHER, reason="OOMKilled")))
    assert fate.fault == "its launcher container ran out of memory"
