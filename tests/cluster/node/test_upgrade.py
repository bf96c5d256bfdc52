"""``helm upgrade`` while jobs are handed in; ``helm uninstall`` while one runs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.cluster.images import SERVICES
from tests.cluster.node.release import JOBS, NAMESPACE, Release
from tests.waiting import eventually

_AT_LEAST = 5


def test_an_upgrade_under_load_loses_no_job_and_doubles_none(release: Release):
    before = release.pods()
    stop = threading.Event()

    def hand_in() -> list[str]:
        """One job after the other, until the upgrade is over."""
        jobs: list[str] = []
        while len(jobs) < _AT_LEAST or not stop.is_set():
            jobs.append(release.submit_program("print('once')\n", again_s=240))
        return jobs

    with ThreadPoolExecutor(1) as thread:
        handed = thread.submit(hand_in)
        try:
            release.upgrade(logLevel="DEBUG")
        finally:
            stop.set()
        jobs = handed.result()
    # Helm waits for the new pods to be ready, not for the old ones to be gone.
    eventually(
        lambda: not any(release.pods_of(name) & before for name in SERVICES),
        "the end of the pods before the upgrade",
    )
    for job in jobs:
        assert release.wait_for_end(job, timeout_s=300)["state"] == "succeeded", release.told(job)
        assert release.tshell("logs", job) == "once\n"
    listed = [each["job_id"] for each in release.jobs()]
    assert sorted(set(listed) & set(jobs)) == sorted(jobs)
    assert len(listed) == len(set(listed))


def test_uninstalling_ends_what_runs_and_keeps_what_it_says(release: Release):
    job = release.submit_program("import time\ntime.sleep(3600)\n")
    eventually(lambda: release.running(job), "its pod")
    said = release.uninstall()
    assert release.kube.batch.list_namespaced_job(JOBS).items == []
    assert release.kube.core.list_namespaced_pod(JOBS).items == []
    # Helm leaves what `helm test` has run.
    eventually(lambda: release.pod_names() <= {"barograph-test"}, "the end of the pods", 300)
    kept = {pvc["metadata"]["name"] for pvc in release.kube.get("pvc", "-n", NAMESPACE)["items"]}
    assert kept == {f"data-barograph-{n}-0" for n in ("rabbitmq", "postgresql", "seaweedfs")}
    secrets = {
        each["metadata"]["name"] for each in release.kube.get("secret", "-n", NAMESPACE)["items"]
    }
    assert secrets == {"barograph-quickstart-passwords"}, said
