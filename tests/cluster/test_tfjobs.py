"""TFJobs through the real task service and API server; pods on fake nodes, no launchers in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.contracts import JobState
from tests.brokers import BrokerUnderTest
from tests.chart.rendering import Manifest
from tests.cluster.jobs import ClusterJobs, running_jobs
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.tfjobs import TFJobs, replica, the_kind
from tests.conftest import ObjectStoreUnderTest
from tests.waiting import eventually

CLUSTER = {"PS": replica(1), "Worker": replica(2)}


@pytest.fixture
def team(kube: Kube) -> Iterator[TFJobs]:
    """The namespace where a team applies its TFJobs; its pods run in another."""
    with the_kind(kube):
        yield TFJobs(kube, kube.new_namespace())


@pytest.fixture
def platform(
    team: TFJobs,
    namespace: str,
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClusterJobs]:
    settings = {
        "tfjob_namespaces": [team.namespace],
        "allowed_claims": ["sets"],
        "allowed_config_maps": ["*"],
        "allowed_secrets": ["keys", "registry"],
    }
    directory = tmp_path_factory.mktemp("jobs")
    with running_jobs(team.kube, namespace, broker, object_store, directory, **settings) as running:
        yield running


def test_a_tfjob_trains_with_ps_and_workers_and_its_deletion_leaves_nothing(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(2)
    team.apply("mnist", CLUSTER)
    team.wait("mnist", "Running")
    job_id = team.job_id("mnist")
    assert len(platform.pods(job_id)) == 3
    assert team.status("mnist")["replicaStatuses"] == {"PS": {"active": 1}, "Worker": {"active": 2}}
    platform.end_pod(job_id, 0, "worker-0")
    team.wait("mnist", "Succeeded")
    status = team.status("mnist")
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [
        ("Created", "True"),
        ("Running", "False"),
        ("Succeeded", "True"),
    ]
    assert status["replicaStatuses"] == {"PS": {"succeeded": 1}, "Worker": {"succeeded": 2}}
    assert status["startTime"] <= status["completionTime"]
    assert {"TFJobCreated", "TFJobRunning", "TFJobSucceeded"} <= team.reasons("mnist")
    shown = team.kube.kubectl("get", "tfjob", "mnist", "-n", team.namespace)
    assert "Succeeded" in shown
    eventually(lambda: platform.nothing_left(job_id), "the end of pods, Jobs and Secret")
    team.delete("mnist")
    assert team.names() == []


def test_deleting_a_running_tfjob_cancels_its_job_and_no_finalizer_holds_it(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(2)
    team.apply("mnist", CLUSTER)
    team.wait("mnist", "Running")
    job_id = team.job_id("mnist")
    team.delete("mnist")
    assert platform.wait_end(job_id).state is JobState.CANCELLED
    eventually(lambda: platform.nothing_left(job_id), "the end of pods, Jobs and Secret")


def test_a_deletion_while_the_task_service_is_away_is_seen_when_it_is_back(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(2)
    team.apply("mnist", CLUSTER)
    team.wait("mnist", "Running")
    job_id = team.job_id("mnist")
    platform.task.stop()
    team.delete("mnist")
    platform.restart_task()
    assert platform.wait_end(job_id).state is JobState.CANCELLED


def test_a_tfjob_that_fails_says_which_member_and_why(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    team.apply("mnist", {"Worker": replica(1)}, backoffLimit=0)
    team.wait("mnist", "Running")
    platform.end_pod(team.job_id("mnist"), 3)
    failed = team.wait("mnist", "Failed")
    assert failed["reason"] == "TFJobFailed"
    assert "exit code 3" in failed["message"]
    assert team.status("mnist")["replicaStatuses"] == {"Worker": {"failed": 1}}


def test_what_cannot_be_taken_over_is_refused_with_every_field(platform: ClusterJobs, team: TFJobs):
    worker = replica(1, lifecycle={"preStop": {"exec": {"command": ["x"]}}})
    worker["template"]["spec"]["nodeName"] = "real-0"
    team.apply("mnist", {"Worker": worker, "Scheduler": replica(1)})
    failed = team.wait("mnist", "Failed")
    assert failed["reason"] == "TFJobFailedValidation"
    for field in ("containers[0].lifecycle", "spec.nodeName", "tfReplicaSpecs.Scheduler"):
        assert field in failed["message"]
    assert team.reasons("mnist") == {"TFJobFailedValidation"}
    assert platform.events == []


def _objects(platform: ClusterJobs) -> None:
    """A claim with its volume, a ConfigMap and Secrets where the pods run."""
    kube, place = platform.kube, {"namespace": platform.namespace}
    volume = f"pv-{platform.namespace}"
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    common = {"accessModes": modes, "storageClassName": ""}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {**common, "capacity": size, "hostPath": {"path": "/tmp/none"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "sets", **place},
            "spec": {**common, "resources": {"requests": size}, "volumeName": volume},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "train", **place},
            "data": {"rate": "0.1"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys", **place},
            "stringData": {"token": "secret"},
        },
    )


def _with_volumes() -> Manifest:
    worker = replica(1, envFrom=[{"secretRef": {"name": "keys"}}])
    pod = worker["template"]["spec"]
    pod["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "sets"}},
        {"name": "conf", "configMap": {"name": "train"}},
        {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
    ]
    pod["containers"][0]["volumeMounts"] = [
        {"name": "data", "mountPath": "/data"},
        {"name": "conf", "mountPath": "/etc/train"},
        {"name": "dshm", "mountPath": "/dev/shm"},
    ]
    return worker


def test_volumes_and_secrets_reach_the_program_and_the_broker_never_sees_them(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    _objects(platform)
    team.apply("mnist", {"Worker": _with_volumes()})
    team.wait("mnist", "Running")
    (pod,) = platform.pods(team.job_id("mnist"))
    (program,) = pod.spec.containers
    mounted = {mount.mount_path for mount in program.volume_mounts}
    assert {"/data", "/etc/train", "/dev/shm"} <= mounted
    assert program.env_from[0].secret_ref.name == "keys"
    assert "token" not in "".join(event.model_dump_json() for event in platform.events)
    platform.end_pod(team.job_id("mnist"), 0)
    team.wait("mnist", "Succeeded")
    platform.kube.kubectl("delete", "pv", f"pv-{platform.namespace}", "--wait=false")


def test_a_secret_the_installation_does_not_allow_is_refused(platform: ClusterJobs, team: TFJobs):
    worker = replica(1, envFrom=[{"secretRef": {"name": "others"}}])
    worker["template"]["spec"]["imagePullSecrets"] = [{"name": "theirs"}]
    team.apply("mnist", {"Worker": worker})
    failed = team.wait("mnist", "Failed")
    assert "env_from.0.secret: not allowed by this installation" in failed["message"]
    assert "image_pull_secrets: not allowed by this installation" in failed["message"]


def test_suspending_takes_its_pods_and_resuming_runs_it_again(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(2)
    team.apply("mnist", CLUSTER, suspend=True)
    team.wait("mnist", "Suspended")
    assert platform.events == []
    team.apply("mnist", CLUSTER, suspend=False)
    team.wait("mnist", "Running")
    first = team.job_id("mnist")
    team.apply("mnist", CLUSTER, suspend=True)
    team.wait("mnist", "Suspended")
    eventually(lambda: platform.nothing_left(first), "the end of its pods")
    assert team.condition("mnist", "Running")["status"] == "False"
    team.apply("mnist", CLUSTER, suspend=False)
    team.wait("mnist", "Running")
    assert len(platform.pods(f"{first}-2")) == 3


def test_it_goes_when_its_time_after_the_end_is_over(
    platform: ClusterJobs, team: TFJobs, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    team.apply("mnist", {"Worker": replica(1)}, ttlSecondsAfterFinished=2)
    team.wait("mnist", "Running")
    platform.end_pod(team.job_id("mnist"), 0)
    eventually(lambda: team.names() == [], "the deletion of the object")


def test_the_kind_keeps_what_is_not_read_so_that_a_refusal_can_name_it(team: TFJobs):
    worker = replica(1)
    worker["template"]["spec"]["strange"] = {"field": [1]}
    team.apply("mnist", {"Worker": worker})
    kept = team.get("mnist")["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    assert kept["strange"] == {"field": [1]}
