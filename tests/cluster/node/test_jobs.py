"""Jobs in pods of a real node: TensorFlow, logs that outlive pods, memory limits, confinement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.node.job_programs import LISTENS, LOOK, PORT, REACH, WAITS
from tests.cluster.node.release import JOBS, Release
from tests.cluster.node.worker import RealNode
from tests.waiting import eventually

EXAMPLES = Path(__file__).parents[3] / "examples"
_LINES = 5000


def test_a_parameter_server_job_trains_in_pods_and_leaves_none(release: Release):
    job = release.submit(
        EXAMPLES / "digits-ps",
        "--main",
        "train.py",
        "-t",
        "distribute",
        "--ps",
        "1",
        "--workers",
        "1",
        "--chief",
        "-m",
        "1200Mi",
        "-c",
        "0.25",
    )
    seen = eventually(
        lambda: {p.metadata.name for p in release.job_pods(job) if p.status.phase == "Running"},
        "running pods",
        timeout_s=300,
    )
    end = release.wait_for_end(job, timeout_s=540)
    assert end["state"] == "succeeded", release.told(job)
    assert seen
    release.wait_for_no_pods(job)
    log = release.tshell("logs", job, "--member", "chief-0")
    assert "done: test accuracy 0." in log.splitlines()[-1]
    assert float(log.split("accuracy ")[-1]) > 0.8
    assert any(key.startswith(f"jobs/{job}/model/digits/") for key in release.stored(job))


def test_the_whole_log_is_there_when_its_pods_are_gone(release: Release):
    job = release.submit_program(f"for number in range({_LINES}): print('line', number)\n")
    assert release.wait_for_end(job)["state"] == "succeeded", release.told(job)
    release.wait_for_no_pods(job)
    expected = "".join(f"line {number}\n" for number in range(_LINES))
    assert release.tshell("logs", job) == expected


def test_a_program_over_its_memory_limit_fails_with_that_reason(release: Release):
    job = release.submit_program(
        "print('begun', flush=True)\nheld = []\n"
        "while True: held.append(bytearray(b'x') * (16 << 20))\n",
        memory="128Mi",
    )
    end = release.wait_for_end(job)
    assert end["state"] == "failed"
    assert "needed more memory than its limit of 128Mi" in end["reason"]
    assert "begun" in release.tshell("logs", job)


def test_a_program_has_no_token_no_credential_and_no_privilege(release: Release):
    found = _told_by(release, LOOK, "FOUND")
    assert not found["token"]
    assert found["secret_files"] == []
    assert not found["secret_environment"]
    assert found["uid"] != 0
    assert found["capabilities"] == 0
    assert found["no_new_privileges"] == "1"
    assert found["seccomp"] == "2"
    named = {name for name in found["environment"] if "PASSWORD" in name or "SECRET" in name}
    assert named == set()


def test_a_program_reaches_what_its_sidecar_needs_and_nothing_else(release: Release):
    if not release.enforces_policies:
        pytest.skip("this cluster's network keeps no policies; BAROGRAPH_TEST_ENFORCES_POLICIES=1")
    needed = {release.host_of("rabbitmq"): 5672, release.host_of("seaweedfs"): 8333}
    closed = {
        release.host_of("postgresql"): 5432,
        release.host_of("client"): 8000,
        "kubernetes.default.svc": 443,
    }
    program = REACH.replace("HOSTS", repr(needed | closed))
    reached = _told_by(release, program, "REACHED")
    assert reached == dict.fromkeys(needed, True) | dict.fromkeys(closed, False)


def test_nothing_but_other_jobs_reaches_a_program(release: Release):
    if not release.enforces_policies:
        pytest.skip("this cluster's network keeps no policies; BAROGRAPH_TEST_ENFORCES_POLICIES=1")
    listening = release.submit_program(LISTENS)
    eventually(lambda: "listens" in release.tshell("logs", listening), "the listener", 180)
    (pod,) = release.job_pods(listening)
    program = REACH.replace("HOSTS", repr({pod.status.pod_ip: PORT}))
    assert _told_by(release, program, "REACHED") == {pod.status.pod_ip: True}
    said = release.exec("client", ["python3", "-c", program])
    assert json.loads(said.removeprefix("REACHED ")) == {pod.status.pod_ip: False}
    release.tshell("cancel", listening)
    release.wait_for_end(listening)


def test_where_jobs_run_there_is_no_right_for_pods(release: Release):
    who = f"--as=system:serviceaccount:{JOBS}:default"
    allowed = release.kube.kubectl("auth", "can-i", "--list", who, "-n", JOBS, "--no-headers")
    # Everybody may ask what he may do, and read the API's own description.
    lines = [line for line in allowed.splitlines() if line.split()[0].isalpha()]
    assert lines == []


def test_a_deleted_worker_joins_the_running_cluster_of_an_elastic_job(release: Release):
    cluster = ("-t", "distribute", "--chief", "--ps", "1", "--workers", "1", "--elastic")
    size = ("-m", "1200Mi", "-c", "0.25", "--arg", "--steps", "--arg", "2000")
    job = release.submit(EXAMPLES / "digits-ps", "--main", "train.py", *cluster, *size)
    eventually(
        lambda: "step 100/2000" in release.tshell("logs", job, "--member", "chief-0"),
        "training",
        timeout_s=540,
        pause_s=2,
    )
    (worker,) = [name for name in release.running(job) if "worker" in name]
    release.kube.core.delete_namespaced_pod(worker, JOBS)
    end = release.wait_for_end(job, timeout_s=900)
    assert end["state"] == "succeeded", release.told(job)
    log = release.tshell("logs", job, "--member", "chief-0")
    # There is no other worker: what was computed after the first was, was computed by the second.
    assert log.count("training from step") == 1
    assert "membership changed" not in log
    both = json.loads(release.tshell("logs", job, "--member", "worker-0", "--json"))["parts"]
    assert ["worker-0 serves" in part["text"] for part in both] == [True, True]


def test_a_pod_deleted_in_mid_run_is_replaced_and_the_job_succeeds(release: Release):
    job = release.submit_program(WAITS)
    first = _begun(release, job)
    release.kube.core.delete_namespaced_pod(first, JOBS)
    _go_on(release, job, first)


def test_an_evicted_pod_is_replaced_and_the_job_succeeds(release: Release):
    job = release.submit_program(WAITS)
    first = _begun(release, job)
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=first, namespace=JOBS))
    release.kube.core.create_namespaced_pod_eviction(first, JOBS, eviction)
    _go_on(release, job, first)
    assert "it was evicted" in release.tshell("describe", job, "--json")


def test_a_node_that_falls_silent_costs_its_pods_and_not_the_job(
    release: Release, node: RealNode | None
):
    if node is None:
        pytest.skip("a node's kubelet can be stopped on a cluster of our own only")
    job = release.submit_program(WAITS)
    first = _begun(release, job)
    with node.silent():
        eventually(
            lambda: (
                first
                in {p.metadata.name for p in release.job_pods(job) if p.metadata.deletion_timestamp}
            ),
            "the pod given up with its node",
            timeout_s=300,
        )
    # The installation was evicted with the node, the task service too: it comes back first, and may
    # have begun another attempt meanwhile.
    release.wait_until_settled()
    _go_on(release, job, first, at_least=2)


def _told_by(release: Release, program: str, word: str) -> Any:
    """Return what a job's program printed as JSON after this word."""
    job = release.submit_program(program)
    assert release.wait_for_end(job)["state"] == "succeeded", release.told(job)
    lines = release.tshell("logs", job).splitlines()
    (line,) = [each for each in lines if each.startswith(f"{word} ")]
    return json.loads(line.removeprefix(f"{word} "))


def _begun(release: Release, job: str) -> str:
    """The name of the job's pod, when its program has begun."""
    (pod,) = eventually(lambda: release.running(job), "its pod", timeout_s=180)
    eventually(lambda: "begun" in release.tshell("logs", job), "its log", timeout_s=60)
    return pod


def _go_on(release: Release, job: str, first: str, at_least: int = 0) -> None:
    """Another pod takes the place of the first, and the job ends well with all logs.

    There are two logs; or, where further pods may have come and gone, ``at_least`` so many.
    """

    def told_to_end() -> bool:
        for pod in release.running(job) - {first}:
            touch = ("exec", "-n", JOBS, pod, "-c", "program", "--", "touch", "/tmp/go")
            try:
                release.kube.kubectl(*touch)
            except AssertionError:
                return False  # it went meanwhile
        (found,) = [each for each in release.jobs() if each["job_id"] == job]
        return bool(found["state"] == "succeeded")

    try:
        eventually(told_to_end, f"the good end of {job}", timeout_s=300)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{release.told(job)}") from error
    texts = [part["text"] for part in json.loads(release.tshell("logs", job, "--json"))["parts"]]
    assert set(texts) == {"begun\n"}
    assert len(texts) == 2 or len(texts) >= at_least > 0
