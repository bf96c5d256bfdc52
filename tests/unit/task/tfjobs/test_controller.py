"""A TFJob that is applied becomes a job, and its status tells of it as the v1 operator did."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.task.records import Exit, PendingNote
from services.task.tfjobs.tfjob import TFJob
from shared.contracts import DEFAULT_PROJECT, Fault, JobState, PendingCause
from shared.packages.places import is_package
from tests.unit.task.tfjobs.objects import BUCKET, House, replica, tfjob

_FIELDS = (
    "tfReplicaSpecs",
    "Worker",
    "replicas",
    "template",
    "spec",
    "containers",
    "command",
    "conditions",
    "type",
    "status",
    "completionTime",
    "suspend",
    "managedBy",
    "ttlSecondsAfterFinished",
)
WELL, BADLY = Exit(exit_code=0), Exit(exit_code=3)


@pytest.fixture
def house() -> House:
    return House()


def test_it_is_handed_in_once_however_often_it_is_seen(house: House) -> None:
    house.objects.apply(tfjob())
    house.run(3)
    house.restart()
    house.run(3)
    (job,) = house.jobs()
    assert job.job_id == "mnist-u-1"
    assert (job.submit.ps, job.submit.workers) == (1, 2)
    assert [message.TYPE for message in house.told] == ["job.accepted"]


def test_its_package_is_the_command_of_its_container(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    submit = house.job().submit
    assert submit.package == f"{BUCKET}:packages:{submit.package_sha256}.tar.gz"
    assert house.files.head(BUCKET, f"packages/{submit.package_sha256}.tar.gz") is not None


def test_one_in_a_projects_namespace_is_a_job_of_that_project_and_all_others_of_none(
    house: House,
) -> None:
    house.objects.apply(tfjob())
    of_project = tfjob("paint", "u-2")
    of_project["metadata"]["namespace"] = "team-vision"
    house.objects.apply(of_project)
    house.run()
    found = {job.submit.name: job.submit for job in house.jobs()}
    assert {name: submit.project for name, submit in found.items()} == {
        "mnist": DEFAULT_PROJECT,
        "paint": "vision",
    }
    package = found["paint"].package
    assert is_package(package, BUCKET, "vision")
    assert house.files.head(BUCKET, package.partition(":")[2].replace(":", "/")) is not None


def test_a_crash_before_the_status_was_written_is_made_up_for(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.objects.apply(tfjob())  # without its status
    house.restart()
    house.run()
    assert len(house.jobs()) == 1
    assert house.holds() == {"Created": "True"}


def test_the_status_of_a_job_that_succeeds(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    assert house.holds() == {"Created": "True"}
    assert house.status()["replicaStatuses"] == {"PS": {}, "Worker": {}}
    house.begins()
    house.run()
    assert house.holds() == {"Created": "True", "Running": "True"}
    assert house.status()["replicaStatuses"] == {"PS": {"active": 1}, "Worker": {"active": 2}}
    assert "completionTime" not in house.status()
    house.ends(JobState.SUCCEEDED, worker_0=WELL)
    house.run(2)
    assert house.holds() == {"Created": "True", "Running": "False", "Succeeded": "True"}
    assert house.status()["replicaStatuses"] == {
        "PS": {"succeeded": 1},
        "Worker": {"succeeded": 2},
    }
    assert house.status()["startTime"] == "2024-01-01T00:00:01Z"
    assert house.status()["completionTime"] == "2024-01-01T00:00:02Z"
    reasons = {reason for reason, _text in house.objects.events}
    assert reasons == {"TFJobCreated", "TFJobRunning", "TFJobSucceeded"}


def test_the_status_of_a_job_that_fails_says_why(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    house.run()
    house.ends(JobState.FAILED, "worker-1 ended with exit code 3", worker_1=BADLY)
    house.run()
    assert house.holds() == {"Created": "True", "Running": "False", "Failed": "True"}
    failed = house.status()["conditions"][-1]
    assert failed["reason"] == "TFJobFailed"
    assert "worker-1 ended with exit code 3" in failed["message"]
    assert house.status()["replicaStatuses"]["Worker"] == {"failed": 1}


def test_a_status_that_says_it_already_is_not_written_again(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    house.run()
    before = house.objects.writes
    house.run(5)
    assert house.objects.writes == before


def test_what_has_ended_is_not_touched_again_and_not_remembered(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.ends(JobState.SUCCEEDED, worker_0=WELL)
    house.run(2)
    before = house.status()
    assert house.taken() == 0
    house.remove_job()
    house.restart()
    house.run(3)
    assert house.status() == before
    assert house.jobs() == []


def test_restarting_takes_the_place_of_running_and_back(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    house.run()
    record = house.job()
    house.put(record.model_copy(update={"state": JobState.RETRYING}))
    house.run()
    assert house.holds() == {"Created": "True", "Restarting": "True"}
    house.put(record)
    house.run()
    assert house.holds() == {"Created": "True", "Running": "True"}


def test_what_keeps_it_from_starting_stands_in_the_status_and_an_event(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    note = PendingNote(cause=PendingCause.IMAGE, reason="no image x:1", at=house.now)
    house.put(house.job().model_copy(update={"pending": note}))
    house.run()
    assert "no image x:1" in house.status()["conditions"][0]["message"]
    assert ("TFJobPending", "no image x:1") in house.objects.events


# Refusals


def test_what_cannot_be_taken_over_is_refused_and_every_field_is_named(house: House) -> None:
    worker = replica(1, volumeMounts=[{"name": "d", "mountPath": "/d"}], envFrom=[{"x": 1}])
    worker["template"]["spec"]["volumes"] = [{"name": "d", "hostPath": {"path": "/"}}]
    house.objects.apply(tfjob(tfReplicaSpecs={"Worker": worker, "Wroker": replica(1)}))
    house.run(2)
    (failed,) = house.status()["conditions"]
    assert (failed["type"], failed["status"]) == ("Failed", "True")
    assert failed["reason"] == "TFJobFailedValidation"
    where = "spec.tfReplicaSpecs.Worker.template.spec"
    for field in (
        f"{where}.containers[0].volumeMounts[0]",
        "envFrom[0]",
        "spec.tfReplicaSpecs.Wroker",
    ):
        assert field in failed["message"]
    assert house.status()["completionTime"]
    assert house.jobs() == []
    assert [reason for reason, _ in house.objects.events] == ["TFJobFailedValidation"]


def test_what_this_installation_forbids_is_refused_with_its_fields() -> None:
    house = House((Fault(field="image", problem="not allowed"), Fault(field="ps", problem="no")))
    house.objects.apply(tfjob())
    house.run()
    text = house.status()["conditions"][0]["message"]
    assert "image: not allowed; ps: no" in text
    assert (house.jobs(), house.taken()) == ([], 0)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        "text",
        [],
        {},
        {"tfReplicaSpecs": None},
        {"tfReplicaSpecs": {"Worker": None}},
        {"tfReplicaSpecs": {"Worker": {"replicas": "two"}}},
        {"tfReplicaSpecs": {"Worker": {"replicas": 10**30}}, "runPolicy": "none"},
        {"runPolicy": {"suspend": "yes", "ttlSecondsAfterFinished": 1e400}},
        {"tfReplicaSpecs": {"Worker": replica(1, env=[{"name": "A\x00", "value": "\x00"}])}},
        {"tfReplicaSpecs": {"Worker": replica(1, resources={"limits": {"cpu": "1e999999"}})}},
    ],
)
def test_a_malformed_one_is_refused_and_costs_no_other(house: House, spec: object) -> None:
    house.objects.apply(tfjob("bad", "u-0") | {"spec": spec})
    house.objects.apply(tfjob())
    house.run(2)
    assert house.holds("u-0") == {"Failed": "True"}
    assert [job.job_id for job in house.jobs()] == ["mnist-u-1"]


@pytest.mark.parametrize("status", [None, "text", {"conditions": "x"}, {"conditions": [1, {}]}])
def test_a_malformed_status_is_written_over(house: House, status: object) -> None:
    house.objects.apply(tfjob() | {"status": status})
    house.run()
    assert house.holds().get("Created") == "True"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*_FIELDS, "x"]) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(spec=_JSON, status=_JSON, policy=_JSON)
@example(spec={}, status=None, policy={"managedBy": []})
@example(spec={}, status={"conditions": [{"type": []}]}, policy={})
def test_no_object_keeps_another_from_being_run(spec: Any, status: Any, policy: Any) -> None:
    house = House()
    if isinstance(spec, dict):
        spec = spec | {"runPolicy": policy}
    house.objects.apply(tfjob("bad", "u-0") | {"spec": spec, "status": status})
    house.objects.apply(tfjob())
    house.run(2)
    assert "mnist-u-1" in {job.job_id for job in house.jobs()}


def test_an_object_that_nobody_foresaw_costs_itself_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.objects.apply(tfjob("bad", "u-0"))
    house.objects.apply(tfjob())
    foreseen = TFJob.finished.fget

    def finished(found: TFJob) -> bool:
        if found.uid == "u-0":
            raise KeyError("unforeseen")
        assert foreseen is not None
        return bool(foreseen(found))

    monkeypatch.setattr(TFJob, "finished", property(finished))
    house.run(2)
    assert [job.job_id for job in house.jobs()] == ["mnist-u-1"]


# Deletion


def test_deleting_the_object_cancels_the_job(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    house.objects.items.clear()
    house.run()
    verdict = house.job().verdict
    assert verdict is not None
    assert (verdict.state, verdict.reason) == (JobState.CANCELLED, "its TFJob was deleted")
    house.ends(JobState.CANCELLED)
    house.run()
    assert house.taken() == 0


def test_a_deletion_while_the_service_was_away_is_seen_after_it(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.objects.items.clear()
    house.restart()
    house.run()
    assert house.job().state is JobState.CANCELLED


def test_nothing_is_cancelled_before_the_namespace_was_listed(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.objects.items.clear()
    house.objects.listed = False
    house.restart()
    house.run(3)
    assert house.job().state is JobState.ACCEPTED


def test_one_made_again_under_the_same_name_is_another_job(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.objects.items.clear()
    house.objects.apply(tfjob(uid="u-2"))
    house.run()
    assert [job.job_id for job in house.jobs()] == ["mnist-u-1", "mnist-u-2"]
    assert [job.state for job in house.jobs()] == [JobState.CANCELLED, JobState.ACCEPTED]


# Suspension


def suspend(house: House, *, on: bool) -> None:
    item = house.objects.items["u-1"]
    house.objects.apply(item | {"spec": item["spec"] | {"runPolicy": {"suspend": on}}})


def test_one_that_is_suspended_is_not_begun(house: House) -> None:
    house.objects.apply(tfjob(runPolicy={"suspend": True}))
    house.run(3)
    assert house.jobs() == []
    assert house.holds() == {"Created": "True", "Suspended": "True"}
    assert "startTime" not in house.status()
    suspend(house, on=False)
    house.run()
    assert house.job().job_id == "mnist-u-1"
    assert house.holds()["Suspended"] == "False"


def test_suspending_stops_it_and_resuming_goes_on_from_its_checkpoints(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    house.run()
    house.files.put(BUCKET, "jobs/mnist-u-1/checkpoints.tar.gz", b"step 7")
    suspend(house, on=True)
    house.run()
    assert house.job().verdict is not None
    house.ends(JobState.CANCELLED)
    house.run(2)
    assert house.holds() == {"Created": "True", "Running": "False", "Suspended": "True"}
    assert house.status()["replicaStatuses"] == {"PS": {}, "Worker": {}}
    house.restart()
    suspend(house, on=False)
    house.run(2)
    assert house.job().job_id == "mnist-u-1-2"
    assert house.files.get(BUCKET, "jobs/mnist-u-1-2/checkpoints.tar.gz") == b"step 7"
    assert house.holds()["Suspended"] == "False"
    house.begins()
    house.run()
    house.ends(JobState.SUCCEEDED, worker_0=WELL)
    house.run()
    assert house.holds()["Succeeded"] == "True"


def test_one_that_ended_before_it_could_be_suspended_has_ended(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    suspend(house, on=True)
    house.run()
    record = house.job()
    house.put(record.model_copy(update={"verdict": None}))
    house.ends(JobState.SUCCEEDED, worker_0=WELL)
    house.run(2)
    assert house.holds()["Succeeded"] == "True"


def test_a_deleted_suspended_one_leaves_no_record(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    suspend(house, on=True)
    house.run(3)
    assert house.holds()["Suspended"] == "True"
    house.objects.items.clear()
    house.run()
    assert house.taken() == 0


# Whose it is


def test_one_that_another_operator_has_begun_is_left_alone(house: House) -> None:
    begun = {"conditions": [{"type": "Created", "status": "True", "reason": "TFJobCreated"}]}
    house.objects.apply(tfjob() | {"status": begun})
    house.run(3)
    assert (house.jobs(), house.status()) == ([], begun)
    assert [reason for reason, _ in house.objects.events] == ["TFJobIgnored"]


def test_one_that_had_ended_before_is_left_alone(house: House) -> None:
    ended = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    house.objects.apply(tfjob() | {"status": ended})
    house.run(3)
    assert (house.jobs(), house.status(), house.objects.events) == ([], ended, [])


def test_one_for_another_cluster_is_left_alone(house: House) -> None:
    house.objects.apply(tfjob(runPolicy={"managedBy": "kueue.x-k8s.io/multikueue"}))
    house.run(2)
    assert (house.jobs(), house.status()) == ([], {})


# The run policy


def test_the_run_policy_is_the_jobs(house: House) -> None:
    policy = {"backoffLimit": 5, "activeDeadlineSeconds": 60, "cleanPodPolicy": "None"}
    house.objects.apply(tfjob(runPolicy=policy))
    house.run()
    submit = house.job().submit
    assert (submit.max_retries, submit.timeouts.run_s) == (5, 60)
    created = house.status()["conditions"][0]["message"]
    assert "cleanPodPolicy: all pods are removed at the end in any case" in created


def test_it_goes_when_its_time_after_the_end_is_over(house: House) -> None:
    house.objects.apply(tfjob(runPolicy={"ttlSecondsAfterFinished": 10}))
    house.run()
    house.ends(JobState.SUCCEEDED, worker_0=WELL)
    house.run(9)
    assert house.objects.items
    house.run(3)
    assert not house.objects.items
    assert house.job().state is JobState.SUCCEEDED


@pytest.mark.parametrize("seconds", [-1, 10**400, True, "10", 0.5, None])
def test_a_time_after_the_end_that_is_none_deletes_nothing_or_at_once(seconds: object) -> None:
    ended = {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "completionTime": "2024-01-01T00:00:00Z",
    }
    item = tfjob(runPolicy={"ttlSecondsAfterFinished": seconds}) | {"status": ended}
    house = House()
    house.objects.apply(item)
    house.run(2)
    assert bool(house.objects.items) == (seconds != -1)


def test_a_single_chief_or_worker_is_counted_under_its_own_name(house: House) -> None:
    specs = {"Chief": replica(1), "Worker": replica(0)}
    house.objects.apply(tfjob(tfReplicaSpecs=specs))
    house.run()
    house.begins()
    house.run()
    assert house.status()["replicaStatuses"] == {"Chief": {"active": 1}, "Worker": {}}


def test_names_of_replica_types_are_those_of_v1_however_they_are_written(house: House) -> None:
    specs = {"ps": replica(1), "WORKER": replica(1), "master": replica(1)}
    house.objects.apply(tfjob(tfReplicaSpecs=specs))
    house.run()
    assert set(house.status()["replicaStatuses"]) == {"PS", "Worker", "Master"}
