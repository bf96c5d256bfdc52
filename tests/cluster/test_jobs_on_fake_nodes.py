"""Jobs through the real task service and API server; pods on fake nodes, launchers stood in for."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.contracts import FailureClass, JobCancel, JobPending, JobState, PendingCause
from tests.brokers import BrokerUnderTest
from tests.cluster.jobs import PACKAGE, ClusterJobs, cluster, running_jobs
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.cluster.launchers import FakeLaunchers
from tests.conftest import ObjectStoreUnderTest
from tests.waiting import eventually


def test_a_single_job_runs_succeeds_and_leaves_nothing(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    (job,) = platform.jobs()
    assert job.spec.completion_mode == "Indexed"
    assert job.spec.pod_replacement_policy == "Failed"
    platform.end_pod(job_id, 0)
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    eventually(lambda: platform.nothing_left(job_id), "removal of Job, pods and Secret")


def test_a_program_that_fails_is_told_with_its_exit_code(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    platform.end_pod(job_id, 3)
    end = platform.wait_end(job_id)
    assert (end.failure_class, end.exit_code) == (FailureClass.USER_ERROR, 3)


def test_out_of_memory_is_told_as_such(platform: ClusterJobs, kwok_nodes: FakeNodes) -> None:
    kwok_nodes(1)
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    platform.end_pod(job_id, 137, reason="OOMKilled")
    end = platform.wait_end(job_id)
    assert end.failure_class is FailureClass.OOM
    assert "1500Mi" in end.reason


def test_when_the_chief_ends_the_parameter_servers_go(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    job_id = platform.submit(PACKAGE, **cluster())
    platform.wait_for(job_id, "job.running")
    assert len(platform.jobs()) == 3
    platform.end_pod(job_id, 0, "chief")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    eventually(lambda: platform.nothing_left(job_id), "removal of the parameter servers")


def test_a_deleted_worker_is_replaced_and_all_get_the_next_epoch(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    job_id = platform.submit(PACKAGE, **cluster())
    platform.wait_for(job_id, "job.running")
    (worker,) = [p for p in platform.pods(job_id) if "worker-1" in p.metadata.name]
    platform.kube.core.delete_namespaced_pod(worker.metadata.name, platform.namespace)
    platform.wait_for(job_id, "job.retrying")
    platform.until(lambda: _runs_again(platform, job_id), "the next epoch", job_id)
    platform.end_pod(job_id, 0, "chief")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED


def test_a_deleted_worker_of_an_elastic_job_joins_the_epoch_that_runs(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    job_id = platform.submit(PACKAGE, **cluster(elastic=True))
    platform.wait_for(job_id, "job.running")
    (service,) = platform.kube.core.list_namespaced_service(platform.namespace).items
    before = {p.metadata.name: p for p in platform.pods(job_id)}
    (worker,) = [name for name in before if "worker-1" in name]
    platform.kube.core.delete_namespaced_pod(worker, platform.namespace)
    assert platform.wait_for(job_id, "job.retrying").state is JobState.RUNNING
    platform.until(lambda: _runs_again(platform, job_id), "the worker's return", job_id)
    after = {p.metadata.name: p for p in platform.pods(job_id)}
    # The Job's controller may not have let go of the deleted one yet.
    assert before.keys() - after.keys() <= {worker}
    (back,) = [after[name] for name in after.keys() - before.keys()]
    assert back.spec.hostname == before[worker].spec.hostname
    assert back.spec.subdomain == service.metadata.name
    assert not [e for e in platform.told(job_id) if e.state is JobState.RETRYING]
    platform.end_pod(job_id, 0, "chief")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    eventually(
        lambda: not platform.kube.core.list_namespaced_service(platform.namespace).items,
        "removal of its Service",
    )


def _runs_again(platform: ClusterJobs, job_id: str) -> bool:
    return platform.told(job_id)[-1].TYPE == "job.running" and any(
        e.TYPE == "job.retrying" for e in platform.told(job_id)
    )


def test_a_lost_node_costs_its_members_and_not_the_job(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(4, cpu="2")
    job_id = platform.submit(PACKAGE, **cluster(chief=False, ps=0, workers=2))
    platform.wait_for(job_id, "job.running")
    (worker,) = [p for p in platform.pods(job_id) if "worker-1" in p.metadata.name]
    kwok_nodes.lose(worker.spec.node_name)
    retrying = platform.wait_for(job_id, "job.retrying")
    assert retrying.failure_class is FailureClass.INFRASTRUCTURE
    platform.until(lambda: _runs_again(platform, job_id), "the next epoch", job_id)
    platform.end_pod(job_id, 0, "worker-0")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED


def test_a_cancelled_job_goes_with_its_pods(platform: ClusterJobs, kwok_nodes: FakeNodes) -> None:
    kwok_nodes(1)
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    platform.publish(JobCancel(job_id=job_id))
    assert platform.wait_end(job_id).state is JobState.CANCELLED
    eventually(lambda: platform.nothing_left(job_id), "removal of its pod")


def _told(platform: ClusterJobs, job_id: str, cause: PendingCause) -> Callable[[], Any]:
    def find() -> JobPending | None:
        for event in platform.told(job_id):
            if isinstance(event, JobPending) and event.cause is cause:
                return event
        return None

    return find


def test_a_request_that_can_never_fit_is_refused_naming_the_largest_node(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    names = kwok_nodes(2, cpu="4", memory="16Gi")
    platform.until(lambda: _planned(platform), "sight of the nodes")
    platform.submit(PACKAGE, resources={"cpu": 100, "memory": "1Ti"})
    platform.until(lambda: bool(platform.refusals), "the refusal")
    faults = {f.field: f.problem for f in platform.refusals[0].faults}
    assert set(faults) == {"resources.cpu", "resources.memory"}
    assert "the largest node has 4" in faults["resources.cpu"]
    assert any(name in faults["resources.memory"] for name in names)


def _planned(platform: ClusterJobs) -> bool:
    """Return whether the service has seen the nodes: a job that fits is accepted and runs."""
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    platform.publish(JobCancel(job_id=job_id))
    return bool(platform.wait_end(job_id))


def test_a_job_without_room_says_what_is_short(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2, cpu="2")
    first = platform.submit(PACKAGE, resources={"cpu": 1.5, "memory": "1Gi"})
    second = platform.submit(PACKAGE, resources={"cpu": 1.5, "memory": "1Gi"})
    for job_id in (first, second):
        platform.wait_for(job_id, "job.running")
    third = platform.submit(PACKAGE, resources={"cpu": 1.5, "memory": "1Gi"})
    told = eventually(_told(platform, third, PendingCause.UNSCHEDULABLE), "the reason")
    assert "cpu is short on 2" in told.reason
    assert told.members == ("worker-0",)
    platform.end_pod(first, 0)
    platform.wait_for(third, "job.running")


def test_an_image_that_does_not_exist_is_told(platform: ClusterJobs, kwok_nodes: FakeNodes) -> None:
    nodes = kwok_nodes(1)
    # Held until the pod carries the mark by which its fake node cannot pull.
    platform.kube.kubectl("cordon", *nodes)
    job_id = platform.submit(PACKAGE, image="nowhere/none:1")
    (pod,) = eventually(lambda: platform.pods(job_id), "the pod")
    notes = {"barograph.test/waiting": "ImagePullBackOff"}
    platform.kube.core.patch_namespaced_pod(
        pod.metadata.name, platform.namespace, {"metadata": {"annotations": notes}}
    )
    platform.kube.kubectl("uncordon", *nodes)
    told = eventually(_told(platform, job_id, PendingCause.IMAGE), "the reason")
    assert "ImagePullBackOff" in told.reason
    assert "pull secret" in told.advice


def test_a_quota_of_the_namespace_is_told(platform: ClusterJobs, kwok_nodes: FakeNodes) -> None:
    kwok_nodes(2)
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    platform.kube.core.create_namespaced_resource_quota(platform.namespace, quota)
    eventually(
        lambda: (
            platform.kube.core.read_namespaced_resource_quota(
                "none", platform.namespace
            ).status.hard
        ),
        "the quota's own status",
    )
    job_id = platform.submit(PACKAGE)
    told = eventually(_told(platform, job_id, PendingCause.QUOTA), "the reason")
    assert "exceeded quota: none" in told.reason


def test_two_clusters_that_each_need_most_of_the_nodes_never_block_each_other(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(3, cpu="2")
    wide = cluster(chief=False, ps=1, workers=1, resources={"cpu": 1.5, "memory": "1Gi"})
    jobs = [platform.submit(PACKAGE, **wide) for _ in range(2)]

    def running() -> list[str]:
        kinds = {j: [e.TYPE for e in platform.told(j)] for j in jobs}
        return [j for j in jobs if "job.running" in kinds[j]]

    (first,) = eventually(running, "one of them")
    (second,) = set(jobs) - {first}
    told = eventually(_told(platform, second, PendingCause.GANG), "why the other waits")
    assert "room" in told.reason
    assert not [p for p in platform.pods(second) if p.spec.node_name]
    platform.end_pod(first, 0, "worker")
    assert platform.wait_end(first).state is JobState.SUCCEEDED
    platform.wait_for(second, "job.running")


def test_a_cluster_half_of_which_finds_no_nodes_gives_them_back(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2, cpu="2")
    # Somebody else's pod, which the task service may not see: there is room for one of two.
    other = {
        "metadata": {"name": "other"},
        "spec": {
            "containers": [
                {"name": "main", "image": "any", "resources": {"requests": {"cpu": "1"}}}
            ]
        },
    }
    platform.kube.core.create_namespaced_pod("default", other)
    eventually(
        lambda: platform.kube.core.read_namespaced_pod("other", "default").spec.node_name,
        "the other pod on a node",
    )
    wide = cluster(chief=False, ps=1, workers=1, resources={"cpu": 1.5, "memory": "1Gi"})
    job_id = platform.submit(PACKAGE, **wide)
    eventually(
        lambda: any(
            e.TYPE == "job.pending" and "gives them back" in e.reason for e in platform.told(job_id)
        ),
        "giving back",
    )
    platform.kube.core.delete_namespaced_pod("other", "default", grace_period_seconds=0)
    platform.wait_for(job_id, "job.running")


# Python 3.11's ssl leaves a socket to its destructor that was reset between connecting and the
# handshake, as happens while a server goes.
@pytest.mark.filterwarnings("ignore:unclosed .ssl.SSLSocket:ResourceWarning")
def test_a_minute_without_the_api_server_loses_nothing(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2)
    before = platform.submit(PACKAGE)
    platform.wait_for(before, "job.running")
    platform.kube.stop_api()
    back = time.monotonic() + 60
    try:
        during = platform.submit(PACKAGE)
        platform.wait_for(during, "job.starting")
        eventually(lambda: time.monotonic() > back, "the outage's end")
        assert [platform.told(job_id)[-1].TYPE for job_id in (before, during)] == [
            "job.running",
            "job.starting",
        ]
    finally:
        platform.kube.start_api()
    platform.wait_for(during, "job.running")
    for job_id in (before, during):
        platform.end_pod(job_id, 0)
        assert platform.wait_end(job_id).state is JobState.SUCCEEDED


def test_what_an_interrupted_installation_left_is_swept_by_its_label_only(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    job_id = platform.submit(PACKAGE)
    platform.wait_for(job_id, "job.running")
    (ours,) = platform.jobs()
    left = platform.kube.get("job", ours.metadata.name, "-n", platform.namespace)
    foreign = platform.kube.get("job", ours.metadata.name, "-n", platform.namespace)
    for copy, name in ((left, "left"), (foreign, "foreign")):
        copy["metadata"] = {
            "name": name,
            "namespace": platform.namespace,
            "labels": copy["metadata"]["labels"],
            "annotations": {"barograph.io/job-id": f"{name}-job"},
        }
        for field in ("selector", "status"):
            copy["spec"].pop(field, None)
        copy.pop("status", None)
        template = copy["spec"]["template"]["metadata"]
        template["labels"] = dict(copy["metadata"]["labels"])
        template["annotations"]["barograph.io/job-id"] = f"{name}-job"
    foreign["metadata"]["labels"]["app.kubernetes.io/instance"] = "another"
    foreign["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/instance"] = "another"
    for copy in (left, foreign):
        for marks in (copy["metadata"]["labels"], copy["spec"]["template"]["metadata"]["labels"]):
            for mark in [m for m in marks if "controller-uid" in m or m.endswith("job-name")]:
                del marks[mark]
        platform.kube.batch.create_namespaced_job(platform.namespace, copy)

    def names() -> set[str]:
        return {job.metadata.name for job in platform.jobs()}

    eventually(lambda: "left" not in names(), "removal of what was left")
    assert {"foreign", ours.metadata.name} <= names()


def test_many_jobs_that_end_together_leave_nothing(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(4, cpu="32")
    small = {"cpu": 0.1, "memory": "64Mi"}
    jobs = [platform.submit(PACKAGE, resources=small) for _ in range(60)]
    for job_id in jobs:
        platform.wait_for(job_id, "job.running")
    for job_id in jobs:
        platform.end_pod(job_id, 0)
    for job_id in jobs:
        assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    eventually(
        lambda: (
            not platform.jobs()
            and not platform.kube.core.list_namespaced_pod(platform.namespace).items
        ),
        "removal of every Job and pod",
    )


def test_jobs_of_a_project_run_in_its_own_namespace_and_leave_nothing_in_either(
    kube: Kube,
    namespace: str,
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
    kwok_nodes: FakeNodes,
) -> None:
    kwok_nodes(2)
    vision = kube.new_namespace()
    directory = tmp_path_factory.mktemp("jobs")
    others = FakeLaunchers(kube, vision, broker)
    with running_jobs(
        kube,
        namespace,
        broker,
        object_store,
        directory,
        project_namespaces={"vision": vision},
    ) as platform:
        others.start()
        try:
            of_vision = platform.submit(
                "barograph:packages/vision:any.tar.gz", project="vision", **cluster()
            )
            of_nobody = platform.submit(PACKAGE)
            for job_id in (of_vision, of_nobody):
                platform.wait_for(job_id, "job.running")
            places = {
                pod.metadata.annotations["barograph.io/job-id"]: pod.metadata.namespace
                for pod in kube.core.list_pod_for_all_namespaces().items
                if pod.metadata.namespace in {vision, namespace}
            }
            assert places == {of_vision: vision, of_nobody: namespace}
            # A service that begins anew finds the jobs of both.
            platform.restart_task()
            platform.publish(JobCancel(job_id=of_vision, reason="enough"))
            platform.end_pod(of_nobody, 0)
            assert platform.wait_end(of_vision).state is JobState.CANCELLED
            assert platform.wait_end(of_nobody).state is JobState.SUCCEEDED
            eventually(lambda: platform.nothing_left(of_nobody), "removal in the jobs' namespace")
            left = functools.partial(kube.core.list_namespaced_secret, vision)
            eventually(lambda: not left().items, "removal of the project's Secret")
            assert kube.batch.list_namespaced_job(vision).items == []
        finally:
            others.stop()
