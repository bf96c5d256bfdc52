"""Jobs on MIG slices, time slices and claims of devices, through the real API server and scheduler.

Device plugins and drivers are what fake nodes have none of: their resources are given to the nodes
under the names, and their devices published in the form, that NVIDIA's components use.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.contracts import FailureClass, JobCancel, JobPending, JobState, PendingCause
from tests.cluster.devices import SLICE, WHOLE, Devices
from tests.cluster.jobs import PACKAGE, ClusterJobs, cluster
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.waiting import eventually

SMALL, LARGE = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
"""Of the device plugin's strategy "mixed", which has a resource for each profile."""
SHARE = "nvidia.com/gpu.shared"
"""A time slice, where the device plugin is told to rename shared GPUs."""
_ONE = {"cpu": 1, "memory": "1Gi", "gpu": 1}


@pytest.fixture
def devices(kube: Kube) -> Iterator[Devices]:
    made = Devices(kube)
    made.publish_classes()
    yield made
    made.remove()


def _waits(platform: ClusterJobs, job_id: str, cause: PendingCause) -> JobPending:
    """The first report that a job waits for this cause."""

    def find() -> JobPending | None:
        events = (e for e in platform.told(job_id) if isinstance(e, JobPending))
        return next((e for e in events if e.cause is cause), None)

    found = eventually(find, f"{job_id} waits: {cause}")
    assert found is not None
    return found


def _start(platform: ClusterJobs, number: int, **fields: object) -> list[str]:
    """Submit jobs of one member each; their ids once all of them run."""
    ids = [platform.submit(PACKAGE, **fields) for _ in range(number)]
    for job_id in ids:
        platform.wait_for(job_id, "job.running")
    return ids


# MIG


def test_slices_of_one_size_are_shared_out_and_the_job_that_finds_none_says_which(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1, extra={SMALL: "2", LARGE: "1"})
    slices = {"resources": _ONE | {"gpu_resource": SMALL}}
    first, _ = _start(platform, 2, **slices)
    third = platform.submit(PACKAGE, **slices)
    assert f"{SMALL} is short on 1" in _waits(platform, third, PendingCause.UNSCHEDULABLE).reason
    # Slices of another size are others' business.
    _start(platform, 1, resources=_ONE | {"gpu_resource": LARGE})
    platform.end_pod(first, 0)
    platform.wait_for(third, "job.running")


def test_roles_of_a_cluster_have_slices_of_their_own_size(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1, extra={SMALL: "2", LARGE: "1"})
    job_id = platform.submit(
        PACKAGE,
        **cluster(
            resources=_ONE | {"gpu_resource": SMALL},
            role_resources={
                "chief": _ONE | {"gpu_resource": LARGE},
                "ps": {"cpu": 1, "memory": "1Gi"},
            },
        ),
    )
    platform.wait_for(job_id, "job.running")
    asked = {}
    for pod in platform.pods(job_id):
        (program,) = [c for c in pod.spec.containers if c.name == "program"]
        asked[pod.metadata.labels["barograph.io/group"]] = {
            name: number for name, number in program.resources.limits.items() if "/" in name
        }
    assert asked == {"chief": {LARGE: "1"}, "ps": {}, "worker": {SMALL: "1"}}
    platform.end_pod(job_id, 0, "chief")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED


def test_two_clusters_never_hold_half_of_the_slices_each(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(2, extra={SMALL: "1"})
    wide = cluster(chief=False, ps=0, workers=2, resources=_ONE | {"gpu_resource": SMALL})
    jobs = [platform.submit(PACKAGE, **wide) for _ in range(2)]
    (first,) = eventually(lambda: _running(platform, jobs), "one of them")
    (second,) = {*jobs} - {first}
    assert "room" in _waits(platform, second, PendingCause.GANG).reason
    assert not [pod for pod in platform.pods(second) if pod.spec.node_name]
    platform.end_pod(first, 0, "worker-0")
    assert platform.wait_end(first).state is JobState.SUCCEEDED
    platform.wait_for(second, "job.running")


def _running(platform: ClusterJobs, jobs: list[str]) -> list[str]:
    return [j for j in jobs if "job.running" in {e.TYPE for e in platform.told(j)}]


def test_a_slice_that_no_node_has_is_refused_by_its_name(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    (node,) = kwok_nodes(1, extra={SMALL: "7"})
    # By this the service has seen the node.
    _start(platform, 1, resources=_ONE | {"gpu_resource": SMALL})
    for asked in ({"gpu": 1, "gpu_resource": LARGE}, {"gpu": 8, "gpu_resource": SMALL}):
        platform.submit(PACKAGE, resources=_ONE | asked)
    platform.until(lambda: len(platform.refusals) == 2, "the refusals")
    faults = [(f.field, f.problem) for each in platform.refusals for f in each.faults]
    assert ("resources.gpu", f"1 {LARGE} are requested; no node has any") in faults
    (too_many,) = [problem for _, problem in faults if SMALL in problem]
    assert too_many.startswith(f"8 {SMALL} are needed")
    assert too_many.endswith(f"the largest node has 7 ({node})")


# Time slices


def test_time_slices_hold_as_many_jobs_as_there_are_and_of_the_product_that_was_asked_for(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    (shared,) = kwok_nodes(
        1, extra={SHARE: "4"}, labels={"nvidia.com/gpu.product": "Tesla-T4-SHARED"}
    )
    kwok_nodes(1, extra={SHARE: "4"}, labels={"nvidia.com/gpu.product": "NVIDIA-A10-SHARED"})
    share = _ONE | {"gpu_resource": SHARE, "gpu_model": "Tesla-T4-SHARED"}
    jobs = _start(platform, 4, resources=share)
    nodes = {pod.spec.node_name for job_id in jobs for pod in platform.pods(job_id)}
    assert nodes == {shared}
    fifth = platform.submit(PACKAGE, resources=share)
    assert f"{SHARE} is short on 1" in _waits(platform, fifth, PendingCause.UNSCHEDULABLE).reason
    platform.publish(JobCancel(job_id=jobs[0]))
    platform.wait_for(fifth, "job.running")


def test_what_a_nodes_device_plugin_refuses_is_told_in_its_words(
    platform: ClusterJobs, kwok_nodes: FakeNodes
) -> None:
    """Many installations give each container one time slice at most; only the kubelet knows."""
    (node,) = kwok_nodes(1, extra={SHARE: "4"})
    platform.kube.kubectl("cordon", node)
    job_id = platform.submit(
        PACKAGE, resources=_ONE | {"gpu": 2, "gpu_resource": SHARE}, max_retries=0
    )
    (pod,) = eventually(lambda: platform.pods(job_id), "the pod")
    # As the kubelet does it, before any container is made.
    message = f"Allocate failed: request for '{SHARE}: 2' too large, which is unexpected"
    status = {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": message,
        "startTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    platform.kube.core.patch_namespaced_pod_status(
        pod.metadata.name, platform.namespace, {"status": status}
    )
    end = platform.wait_end(job_id)
    assert (end.state, end.failure_class) == (JobState.FAILED, FailureClass.INFRASTRUCTURE)
    assert message in end.reason


# Claims


def test_a_job_holds_the_devices_that_it_claims_until_it_ends_and_leaves_no_claim(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    (node,) = kwok_nodes(1)
    devices.publish(node, gpus=2, slices=1)
    whole = {"resources": _ONE | {"device_class": WHOLE, "gpu": 2}}
    (first,) = _start(platform, 1, **whole)
    assert devices.allocated(platform.namespace) == [f"{node}/gpu-0", f"{node}/gpu-1"]
    # One of the profile's class gets the slice, though the whole ones are taken.
    _start(platform, 1, resources=_ONE | {"device_class": SLICE})
    assert f"{node}/gpu-2-mig-1g10gb-0" in devices.allocated(platform.namespace)
    waiting = platform.submit(PACKAGE, **whole)
    told = _waits(platform, waiting, PendingCause.UNSCHEDULABLE)
    assert "cannot allocate all claims" in told.reason

    platform.end_pod(first, 0)
    assert platform.wait_end(first).state is JobState.SUCCEEDED
    platform.wait_for(waiting, "job.running")


def test_a_job_that_is_over_leaves_neither_claims_nor_their_templates(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    (node,) = kwok_nodes(1)
    devices.publish(node, gpus=3)
    ended, cancelled = _start(platform, 2, resources=_ONE | {"device_class": WHOLE})
    assert len(devices.claims(platform.namespace)) == 4
    platform.end_pod(ended, 0)
    platform.publish(JobCancel(job_id=cancelled))
    assert platform.wait_end(ended).state is JobState.SUCCEEDED
    assert platform.wait_end(cancelled).state is JobState.CANCELLED
    eventually(lambda: not devices.claims(platform.namespace), "removal of claims and templates")


def test_a_lost_members_devices_are_claimed_anew_by_the_one_that_replaces_it(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    for node in kwok_nodes(2):
        devices.publish(node, gpus=1)
    job_id = platform.submit(
        PACKAGE,
        **cluster(chief=False, ps=0, workers=2, resources=_ONE | {"device_class": WHOLE}),
    )
    platform.wait_for(job_id, "job.running")
    held = devices.allocated(platform.namespace)
    assert len(held) == 2
    (worker,) = [p for p in platform.pods(job_id) if "worker-1" in p.metadata.name]
    platform.kube.core.delete_namespaced_pod(worker.metadata.name, platform.namespace)
    platform.wait_for(job_id, "job.retrying")
    platform.until(
        lambda: platform.told(job_id)[-1].TYPE == "job.running", "the next epoch", job_id
    )
    assert devices.allocated(platform.namespace) == held
    platform.end_pod(job_id, 0, "worker-0")
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED


def test_two_clusters_that_claim_the_same_devices_both_come_to_an_end(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    """Free devices are the scheduler's knowledge: a cluster that got part of them lets go again."""
    for node in kwok_nodes(2):
        devices.publish(node, gpus=1)
    wide = cluster(chief=False, ps=0, workers=2, resources=_ONE | {"device_class": WHOLE})
    waiting = [platform.submit(PACKAGE, **wide) for _ in range(2)]
    while waiting:
        running = eventually(lambda: _running(platform, waiting), "one of them", 240)
        assert running is not None
        (job_id,) = running
        platform.end_pod(job_id, 0, "worker-0")
        assert platform.wait_end(job_id).state is JobState.SUCCEEDED
        waiting.remove(job_id)


def test_a_quota_of_devices_is_told(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    (node,) = kwok_nodes(1)
    devices.publish(node, gpus=2)
    hard = f"{WHOLE}.deviceclass.resource.k8s.io/devices"
    quota = {"metadata": {"name": "devices"}, "spec": {"hard": {hard: "1"}}}
    platform.kube.core.create_namespaced_resource_quota(platform.namespace, quota)
    eventually(
        lambda: (
            platform.kube.core.read_namespaced_resource_quota(
                "devices", platform.namespace
            ).status.hard
        ),
        "the quota's own status",
    )
    job_id = platform.submit(PACKAGE, resources=_ONE | {"device_class": WHOLE, "gpu": 2})
    told = _waits(platform, job_id, PendingCause.QUOTA)
    assert "exceeded quota: devices" in told.reason
    assert told.members == ("worker-0",)


def test_a_device_class_that_is_not_there_is_named_and_the_job_starts_once_it_is(
    platform: ClusterJobs, kwok_nodes: FakeNodes, devices: Devices
) -> None:
    (node,) = kwok_nodes(1)
    devices.publish(node, gpus=1)
    platform.kube.kubectl("delete", "deviceclass", WHOLE)
    job_id = platform.submit(PACKAGE, resources=_ONE | {"device_class": WHOLE})
    told = _waits(platform, job_id, PendingCause.UNSCHEDULABLE)
    assert f"device class {WHOLE} does not exist" in told.reason
    devices.publish_classes()
    platform.wait_for(job_id, "job.running")
