"""Jobs in pods of a real node that name objects of their namespace, or have one of their own."""

from __future__ import annotations

import json
import secrets

from tests.cluster.node.job_programs import LISTENS, PORT, REACH
from tests.cluster.node.release import JOBS, PROJECT, PROJECT_JOBS, Release
from tests.waiting import eventually

# This program reads a Secret both ways, and leaves its length where the next job finds it.
_KEEP = """
import os, pathlib
key = pathlib.Path("/etc/keys/api").read_text()
assert os.environ["KEY_api"] == key
pathlib.Path("/mnt/data/kept").write_text(str(len(key)))
print("stored", flush=True)
"""
_FIND = "print('FOUND ' + open('/mnt/data/kept').read(), flush=True)\n"


def test_a_job_has_a_claim_and_a_secret_of_which_the_platform_learns_the_names_alone(
    release: Release,
):
    key = secrets.token_hex(16)
    metadata = {"namespace": JOBS}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    release.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata | {"name": "keys"},
            "stringData": {"api": key},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata | {"name": "datasets"},
            "spec": claim,
        },
    )
    data = {"path": "/mnt/data", "claim": "datasets"}
    fields = {
        "volumes": [data, {"path": "/etc/keys", "secret": "keys"}],
        "env_from": [{"secret": "keys", "prefix": "KEY_"}],
    }
    keeps = release.submit_program(_KEEP, job_file=fields)
    assert release.wait_for_end(keeps)["state"] == "succeeded", release.told(keeps)
    finds = release.submit_program(_FIND, job_file={"volumes": [data]})
    assert release.wait_for_end(finds)["state"] == "succeeded", release.told(finds)
    assert f"FOUND {len(key)}" in release.tshell("logs", finds)
    assert key not in json.dumps(release.job(keeps)) + release.told(keeps)


def test_a_project_with_a_namespace_of_its_own_is_kept_apart_from_the_others_jobs(
    release: Release,
):
    ours = release.submit_program(LISTENS)
    eventually(lambda: "listens" in release.tshell("logs", ours), "the listener", 180)
    (pod,) = release.job_pods(ours)
    program = REACH.replace("HOSTS", repr({pod.status.pod_ip: PORT}))
    of_project = release.submit_program(program, "--project", PROJECT)
    eventually(
        lambda: release.job_pods(of_project, PROJECT_JOBS),
        "the project's pod in the project's namespace",
        180,
    )
    assert release.wait_for_end(of_project)["state"] == "succeeded", release.told(of_project)
    assert release.job_pods(of_project, JOBS) == []
    if release.enforces_policies:
        said = release.tshell("logs", of_project).splitlines()
        assert f"REACHED {json.dumps({pod.status.pod_ip: False})}" in said
    release.tshell("cancel", ours)
    release.wait_for_end(ours)
