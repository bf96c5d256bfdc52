"""An upgrade and deaths under load, judges that are added when they are late, and the uninstall."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from bench.path_sender import PER_REQUEST, Crowd
from tests.cluster.external_metrics import METRIC, ExternalMetrics
from tests.cluster.images import SERVICES
from tests.cluster.node.from_outside import address_of, secret_of, values_of
from tests.cluster.node.release import JOBS, NAME, NAMESPACE, Release
from tests.cluster.node.traffic import Traffic
from tests.cluster.node.worker import RealNode
from tests.waiting import eventually

_MIN_JOBS = int(os.environ.get("BAROGRAPH_TEST_JOBS", "5"))
_MIN_SAMPLES = int(os.environ.get("BAROGRAPH_TEST_SAMPLES", "0"))
"""The least that flows meanwhile; usually as much as the upgrade and the deaths take."""
_MIN_ALERTS = 6
_LONGEST_TRAFFIC_S = 1200
_TWO_OF_EACH = {f"{service}.replicas": "2" for service in SERVICES}
_THREE = [f"deployment/{NAME}-{each}" for each in ("client", "task", "healer", "gateway")]
_THREE += [f"statefulset/{NAME}-{each}" for each in ("detector", "predictor")]


def test_an_upgrade_deaths_and_new_replicas_under_load_lose_no_job_and_no_alert_and_double_none(
    release: Release, node: RealNode | None
):
    """From one replica to two of each service, with separate gateways; one of each dies, and a
    third one comes, while jobs and samples flow.
    """
    before = release.pods()
    stop = threading.Event()

    def submit_jobs() -> list[str]:
        """One job after the other, until the upgrade is over."""
        jobs: list[str] = []
        while len(jobs) < _MIN_JOBS or not stop.is_set():
            jobs.append(release.submit_program("print('once')\n"))
        return jobs

    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        # The addresses of Services are reachable from our own node only.
        traffic = stack.enter_context(Traffic(release)) if node else None
        handed = thread.submit(submit_jobs)
        try:
            release.upgrade(logLevel="DEBUG", **_TWO_OF_EACH, **{"gateway.enabled": "true"})
            for service in (*SERVICES, "gateway"):
                release.kill_one_of(service)
            release.kube.kubectl("scale", "--replicas=3", "-n", NAMESPACE, *_THREE)
            release.wait_until_settled()
            if traffic is not None:
                enough = f"{_MIN_SAMPLES} samples"
                eventually(lambda: traffic.samples >= _MIN_SAMPLES, enough, _LONGEST_TRAFFIC_S)
        finally:
            stop.set()
        jobs = handed.result()
        if traffic is not None:
            assert traffic.wait_for_alerts() >= _MIN_ALERTS
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


_STREAMS = 4
_LATE = {
    "gateway.enabled": "true",
    "gateway.replicas": "1",
    "hpa.enabled": "true",
    "hpa.detector.lagSeconds": "2",
    # A judge of a tenth of a core is late at a load that this node can make.
    "detector.resources.limits.cpu": "100m",
}


def test_a_judge_that_falls_behind_gets_another_one_which_takes_its_share_of_the_streams(
    release: Release, node: RealNode | None
):
    """The chart's own autoscaler, told of the lag that the judges export, adds it."""
    if node is None:
        pytest.skip("the API of external metrics is served by this process, on our own node")

    def lag_s() -> float:
        return max((max(pod.values(), default=0.0) for pod in of_judges(METRIC)), default=0.0)

    def of_judges(metric: str) -> list[dict[str, float]]:
        return values_of(release, "detector", metric)

    def shares() -> list[float]:
        return [pod.get("", 0.0) for pod in of_judges("barograph_partitions_owned")]

    def shared_out() -> bool:
        owned = [each for each in shares() if each]
        return len(owned) > 1 and sum(owned) == _STREAMS

    with ExternalMetrics(release.kube, node.plane, lag_s):
        release.upgrade(**_LATE)
        eventually(lambda: shares() == [_STREAMS], "one judge of all streams", 240)
        url = f"http://{address_of(release, 'gateway')}:9201"
        crowd = Crowd(url, 10_000, 2, 1, secret_of(release, "tokens", "gateway"))
        accepted = 0
        for _ in range(30):
            sent = crowd.run(seconds=6, rounds=0, rate=40_000)
            accepted += int(sent["samples"] - PER_REQUEST * sent["refused"])
            if shared_out():
                break
        assert shared_out(), release.state_of_pods()
        scaled = release.kube.kubectl("describe", "hpa", f"{NAME}-detector", "-n", NAMESPACE)
        assert f"external metric {METRIC}" in scaled, scaled
        eventually(lambda: lag_s() == 0, "the end of the lag", 240)
    judged = sum(
        value
        for pod in of_judges("barograph_samples_total")
        for labels, value in pod.items()
        if any(outcome in labels for outcome in ('"judged"', '"not_judged"', '"late"'))
    )
    # The node's agent sends some, too.
    assert accepted <= judged <= accepted + 20_000


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
