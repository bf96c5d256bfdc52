"""A job's objects: compared whole, and what must hold for each of them whatever it asks for."""

from __future__ import annotations

import json

import pytest

from services.task.runtimes.kubernetes import names
from services.task.spec import SPEC_FILE
from shared.cluster import Object
from tests.unit.task.kubernetes.manifest_cases import CASES, GOLDEN, objects


def pods_of(case: str) -> list[Object]:
    return [each["spec"]["template"]["spec"] for each in jobs_of(case)]


def jobs_of(case: str) -> list[Object]:
    return [each for each in objects(case) if each["kind"] == "Job"]


def containers(pod: Object) -> dict[str, Object]:
    return {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}


every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_objects_are_as_they_were(case: str) -> None:
    assert objects(case) == json.loads((GOLDEN / f"{case}.json").read_text())


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


@every_case
def test_pods_keep_to_the_restricted_pod_security_standard(case: str) -> None:
    for pod in pods_of(case):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostPID", "hostIPC"} & pod.keys()
        kinds = {kind for volume in pod["volumes"] for kind in volume} - {"name"}
        assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}
        for container in containers(pod).values():
            confined = container["securityContext"]
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "procMount"} & confined.keys()
            assert not any("hostPort" in port for port in container.get("ports", ()))


@every_case
def test_the_users_program_sees_no_credential(case: str) -> None:
    for pod in pods_of(case):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not pod.get("shareProcessNamespace")
        program = containers(pod)[names.PROGRAM]
        mounted = {mount["name"] for mount in program["volumeMounts"]}
        assert not {"job", "private"} & mounted
        assert "env" not in program
        submit = CASES[case][1]
        assert bool(program.get("envFrom")) == bool(submit.env_from)


def test_what_a_job_names_reaches_its_program_only_and_only_the_roles_it_names() -> None:
    ps, worker = pods_of("volumes")
    for pod in (ps, worker):
        for name in (names.FETCH, names.LAUNCHER):
            ours = containers(pod)[name]
            assert not [m for m in ours["volumeMounts"] if m["name"].startswith("volume-")]
            assert "envFrom" not in ours
    paths = [
        {mount["mountPath"] for mount in containers(pod)[names.PROGRAM]["volumeMounts"]}
        for pod in (ps, worker)
    ]
    assert paths[1] - paths[0] == {"/mnt/out"}
    assert ps["imagePullSecrets"] == [{"name": "registry"}]


@every_case
def test_the_launcher_outlives_the_program_and_fetch_comes_before_it(case: str) -> None:
    for pod in pods_of(case):
        fetch, launcher = pod["initContainers"]
        assert (fetch["name"], launcher["name"]) == (names.FETCH, names.LAUNCHER)
        assert "restartPolicy" not in fetch
        assert launcher["restartPolicy"] == "Always"
        assert pod["restartPolicy"] == "Never"


@every_case
def test_kubernetes_never_gives_a_job_up_before_we_do(case: str) -> None:
    _, submit = CASES[case]
    for job in jobs_of(case):
        spec = job["spec"]
        assert spec["backoffLimitPerIndex"] > submit.max_retries
        assert spec["activeDeadlineSeconds"] > submit.timeouts.start_s + submit.timeouts.run_s
        assert "ttlSecondsAfterFinished" not in spec
        assert spec["podReplacementPolicy"] == "Failed"


@every_case
def test_everything_is_marked_and_goes_with_its_secret(case: str) -> None:
    secret, *rest = objects(case)
    marks = names.labels("barograph", CASES[case][1].job_id)
    assert secret["stringData"] == {SPEC_FILE: "{}"}
    for each in [secret, *rest]:
        assert each["metadata"]["labels"].items() >= marks.items()
    for job in jobs_of(case):
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Secret", secret["metadata"]["name"])
        assert job["spec"]["template"]["metadata"]["labels"].items() >= marks.items()


def test_a_single_job_is_not_gated_and_a_cluster_is() -> None:
    assert "schedulingGates" not in pods_of("single")[0]
    for pod in pods_of("distribute"):
        assert pod["schedulingGates"] == [{"name": names.GATE}]


def test_a_queued_cluster_is_one_suspended_job_that_kueue_opens() -> None:
    (job,) = jobs_of("queue")
    assert job["spec"]["suspend"] is True
    assert job["spec"]["completions"] == 4
    assert job["metadata"]["labels"][names.QUEUE] == "team"
    assert "schedulingGates" not in job["spec"]["template"]["spec"]


def test_a_role_gets_its_own_resources() -> None:
    pods = {
        j["metadata"]["labels"][names.GROUP]: p
        for j, p in zip(jobs_of("distribute"), pods_of("distribute"), strict=True)
    }
    asked = {
        role: containers(pod)[names.PROGRAM]["resources"]["limits"] for role, pod in pods.items()
    }
    assert asked["ps"] == {"cpu": "0.5", "memory": "512Mi", "ephemeral-storage": "64Gi"}
    assert asked["worker"] == {"cpu": "1", "memory": "2048Mi", "ephemeral-storage": "64Gi"}


def test_gpus_are_counted_or_claimed_but_never_both() -> None:
    counted = containers(pods_of("gpu")[0])[names.PROGRAM]["resources"]
    assert counted["limits"]["nvidia.com/gpu"] == "2"
    assert pods_of("gpu")[0]["nodeSelector"] == {"nvidia.com/gpu.product": "A100"}
    claimed = containers(pods_of("claims")[0])[names.PROGRAM]["resources"]
    assert set(claimed["limits"]) == {"cpu", "memory", "ephemeral-storage"}
    assert claimed["claims"] == [{"name": "gpu"}]
    (template,) = [o for o in objects("claims") if o["kind"] == "ResourceClaimTemplate"]
    (wanted,) = pods_of("claims")[0]["resourceClaims"]
    assert wanted["resourceClaimTemplateName"] == template["metadata"]["name"]


def test_a_pod_in_the_nodes_network_still_finds_cluster_names() -> None:
    for pod in pods_of("host_network"):
        assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert "hostNetwork" not in pods_of("single")[0]
