"""``helm install`` with the quickstart, on a real node."""

from __future__ import annotations

import pytest
from kubernetes import client

from tests.cluster.images import SERVICES
from tests.cluster.node.pod_states import last_words
from tests.cluster.node.release import JOBS, NAMESPACE, Release
from tests.waiting import eventually


def test_all_six_services_become_ready(release: Release):
    eventually(lambda: release.ready_services() == set(SERVICES), "all services ready")


def test_the_node_agent_runs_on_the_node(release: Release):
    found = release.kube.get("daemonset", "barograph-agent", "-n", NAMESPACE)["status"]
    assert found["numberReady"] == found["desiredNumberScheduled"] > 0


def test_no_container_has_restarted_but_to_wait_for_its_server(release: Release):
    killed = [
        (
            pod.metadata.name,
            status.last_state.terminated.reason,
            last_words(release.kube, NAMESPACE, pod.metadata.name, status.name),
        )
        for pod in release.kube.core.list_namespaced_pod(NAMESPACE).items
        for status in pod.status.container_statuses or []
        if status.last_state.terminated is not None
    ]
    assert killed == []


def test_helm_test_runs_a_job_and_follows_an_alert(release: Release):
    said = release.test()
    assert "succeeded; its log is kept: the job ran, on" in said
    assert "is firing" in said
    assert "is resolved" in said


def test_where_jobs_run_pod_security_refuses_a_root_container(release: Release):
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    with pytest.raises(client.ApiException, match="restricted"):
        release.kube.core.create_namespaced_pod(JOBS, pod)
