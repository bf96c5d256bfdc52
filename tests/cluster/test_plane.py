"""The control plane with fake nodes behaves as Kubernetes does."""

from __future__ import annotations

import pytest
from kubernetes import client
from urllib3.exceptions import MaxRetryError

from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.waiting import eventually


def _job(name: str, annotations: dict[str, str], **spec: object) -> dict[str, object]:
    pod = {
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "prepare", "image": "any"},
            {"name": "sidecar", "image": "any", "restartPolicy": "Always"},
        ],
        "containers": [
            {"name": "main", "image": "any", "resources": {"requests": {"cpu": "1"}}},
        ],
    }
    template = {"metadata": {"annotations": annotations}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def _finished(kube: Kube, namespace: str, name: str) -> str:
    """The type of the condition the Job ended with; empty while it runs."""
    job = kube.batch.read_namespaced_job(name, namespace)
    done = [item.type for item in job.status.conditions or [] if item.status == "True"]
    return next((kind for kind in done if kind in {"Complete", "Failed"}), "")


def test_a_job_succeeds_on_a_fake_node(kube: Kube, namespace: str, kwok_nodes: FakeNodes):
    kwok_nodes(2)
    annotations = {"barograph.test/exit-code": "0", "barograph.test/run-for": "200ms"}
    kube.batch.create_namespaced_job(namespace, _job("good", annotations))
    assert eventually(lambda: _finished(kube, namespace, "good"), "the end") == "Complete"


def test_the_exit_code_of_an_annotation_fails_the_job(
    kube: Kube, namespace: str, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    annotations = {"barograph.test/exit-code": "137", "barograph.test/reason": "OOMKilled"}
    kube.batch.create_namespaced_job(namespace, _job("bad", annotations))
    assert eventually(lambda: _finished(kube, namespace, "bad"), "the end") == "Failed"
    (pod,) = kube.core.list_namespaced_pod(namespace).items
    ended = pod.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_running_pod_ends_when_it_is_told_to(kube: Kube, namespace: str, kwok_nodes: FakeNodes):
    kwok_nodes(1)
    kube.batch.create_namespaced_job(namespace, _job("late", {}))

    def running() -> list[client.V1Pod]:
        pods = kube.core.list_namespaced_pod(namespace).items
        return [pod for pod in pods if pod.status.phase == "Running"]

    (pod,) = eventually(running, "a running pod")
    sidecar = pod.status.init_container_statuses[1]
    assert sidecar.name == "sidecar"
    assert sidecar.state.running is not None
    patch = {"metadata": {"annotations": {"barograph.test/exit-code": "0"}}}
    kube.core.patch_namespaced_pod(pod.metadata.name, namespace, patch)
    assert eventually(lambda: _finished(kube, namespace, "late"), "the end") == "Complete"


def test_a_deleted_pod_fails_and_its_job_replaces_it(
    kube: Kube, namespace: str, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    job = _job("replaced", {}, backoffLimit=3, podReplacementPolicy="Failed")
    kube.batch.create_namespaced_job(namespace, job)

    def running() -> set[str]:
        pods = kube.core.list_namespaced_pod(namespace).items
        return {pod.metadata.name for pod in pods if pod.status.phase == "Running"}

    (first,) = eventually(running, "the first pod")
    kube.core.delete_namespaced_pod(first, namespace)
    eventually(lambda: running() - {first}, "its replacement")
    status = eventually(
        lambda: kube.batch.read_namespaced_job("replaced", namespace).status.failed, "its count"
    )
    assert status == 1


def test_a_pod_no_node_can_hold_says_so(kube: Kube, namespace: str, kwok_nodes: FakeNodes):
    kwok_nodes(3, cpu="2", gpu=1)
    job = _job("large", {})
    main = job["spec"]["template"]["spec"]["containers"][0]
    main["resources"] = {"limits": {"nvidia.com/gpu": "2"}}
    kube.batch.create_namespaced_job(namespace, job)

    def reason() -> str:
        for pod in kube.core.list_namespaced_pod(namespace).items:
            for item in pod.status.conditions or []:
                if item.type == "PodScheduled" and item.status == "False":
                    return item.message
        return ""

    assert "3 Insufficient nvidia.com/gpu" in eventually(reason, "the scheduler's reason")


def test_an_image_that_cannot_be_pulled_leaves_the_pod_waiting(
    kube: Kube, namespace: str, kwok_nodes: FakeNodes
):
    kwok_nodes(1)
    annotations = {"barograph.test/waiting": "ImagePullBackOff"}
    kube.batch.create_namespaced_job(namespace, _job("nowhere", annotations))

    def waiting() -> str:
        for pod in kube.core.list_namespaced_pod(namespace).items:
            for status in pod.status.container_statuses or []:
                return status.state.waiting.reason
        return ""

    assert eventually(waiting, "the waiting container") == "ImagePullBackOff"


def test_pods_of_a_silent_node_are_evicted(kube: Kube, namespace: str, kwok_nodes: FakeNodes):
    kwok_nodes(3)
    kube.batch.create_namespaced_job(namespace, _job("stranded", {}))

    def pods() -> list[client.V1Pod]:
        return kube.core.list_namespaced_pod(namespace).items

    def running() -> list[client.V1Pod]:
        return [pod for pod in pods() if pod.status.phase == "Running"]

    node = eventually(running, "the pod")[0].spec.node_name
    kwok_nodes.lose(node)
    eventually(lambda: any(pod.metadata.deletion_timestamp for pod in pods()), "its eviction")
    # Nobody on the node can say that the pod has ended, until the node is back.
    assert {pod.status.phase for pod in pods()} == {"Running"}
    kwok_nodes.find(node)
    assert eventually(lambda: _finished(kube, namespace, "stranded"), "the end") == "Failed"


def test_a_service_account_may_do_what_it_was_granted_and_nothing_more(kube: Kube, namespace: str):
    kube.core.create_namespaced_service_account(namespace, {"metadata": {"name": "reader"}})
    kube.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods", "-n", namespace)
    who = f"--serviceaccount={namespace}:reader"
    kube.kubectl("create", "rolebinding", "reader", "--role=reader", who, "-n", namespace)
    path = kube.service_account_kubeconfig(namespace, "reader")
    core = client.CoreV1Api(kube.client_for(path))
    eventually(lambda: core.list_namespaced_pod(namespace) is not None, "the grant")
    with pytest.raises(client.ApiException, match="Forbidden"):
        core.list_namespaced_secret(namespace)


def test_the_api_server_stops_and_comes_back_with_its_contents(kube: Kube, namespace: str):
    kube.core.create_namespaced_config_map(namespace, {"metadata": {"name": "kept"}})
    kube.stop_api()
    try:
        with pytest.raises(MaxRetryError):
            kube.core.read_namespaced_config_map("kept", namespace)
    finally:
        kube.start_api()
    assert kube.core.read_namespaced_config_map("kept", namespace).metadata.name == "kept"
