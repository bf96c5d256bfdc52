"""A TFJob that kubectl applies: it trains in pods of a real node, and its status tells of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cluster.node.release import JOBS, Release
from tests.cluster.tfjobs import TFJobs
from tests.waiting import eventually

TRAIN = Path(__file__).parents[3] / "examples/digits-ps/code/train.py"


def replica(program: str) -> dict[str, Any]:
    """One member of the installation's own image."""
    container = {
        "name": "tensorflow",
        "command": ["python3", "-c", program],
        "resources": {"limits": {"cpu": "250m", "memory": "1200Mi"}},
    }
    return {"replicas": 1, "template": {"spec": {"containers": [container]}}}


def test_a_tfjob_applied_by_kubectl_trains_and_its_deletion_leaves_nothing(release: Release):
    tfjobs = TFJobs(release.kube, JOBS)
    member = replica(TRAIN.read_text())
    tfjobs.apply("digits", {"Chief": member, "PS": member, "Worker": member})
    tfjobs.wait("digits", "Running", 300)
    job = tfjobs.job_id("digits")
    assert tfjobs.status("digits")["replicaStatuses"]["PS"] == {"active": 1}
    tfjobs.wait("digits", "Succeeded", 540)
    status = tfjobs.status("digits")
    one = {"succeeded": 1}
    assert status["replicaStatuses"] == {"Chief": one, "PS": one, "Worker": one}
    assert status["startTime"] < status["completionTime"]
    log = release.tshell("logs", job, "--member", "chief-0")
    assert float(log.split("accuracy ")[-1]) > 0.8
    tfjobs.delete("digits")
    assert tfjobs.names() == []
    release.wait_for_no_pods(job)
    eventually(lambda: release.kube.batch.list_namespaced_job(JOBS).items == [], "no Jobs left")
    # The job's results are kept, as any job's.
    assert any(key.startswith(f"jobs/{job}/model/digits/") for key in release.stored(job))


def test_deleting_a_running_tfjob_ends_its_pods(release: Release):
    tfjobs = TFJobs(release.kube, JOBS)
    tfjobs.apply("endless", {"Worker": replica("import time; time.sleep(3600)")})
    tfjobs.wait("endless", "Running", 300)
    job = tfjobs.job_id("endless")
    tfjobs.delete("endless")
    assert release.wait_for_end(job)["state"] == "cancelled"
    release.wait_for_no_pods(job)
