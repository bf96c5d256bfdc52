"""A job's objects: compared whole, and what must hold for each of them whatever it asks for."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from services.task.runtimes.kubernetes import mounts, names
from services.task.spec import SPEC_FILE
from shared.cluster import Object
from shared.contracts import Member, Role
from tests.unit.task.kubernetes.manifest_cases import CASES, GOLDEN, objects
from tests.unit.task.kubernetes.objects import submit


def pods_of(case: str) -> list[Object]:
    return [each["spec"]["template"]["spec"] for each in jobs_of(case)]


def jobs_of(case: str) -> list[Object]:
    return [each for each in objects(case) if each["kind"] == "Job"]


def containers(pod: Object) -> dict[str, Object]:
    return {each["name"]: each for each in [*pod["initContainers"], *pod["containers"]]}


_CLAIMS_SINCE = 34
every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_objects_are_as_they_were(case: str) -> None:
    assert objects(case) == json.loads((GOLDEN / f"{case}.json").read_text())


@pytest.mark.parametrize("minor", range(31, 36))
def test_objects_fit_the_schemas_of_every_version_that_is_supported(minor: int) -> None:
    for case in CASES:
        for each in objects(case):
            if each["kind"] == "ResourceClaimTemplate" and minor < _CLAIMS_SINCE:
                continue  # asked for only where the API server serves it
            kubernetes_validate.validate(each, f"1.{minor}.0", strict=True)


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
        assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim", "projected"}
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
        submit = CASES[case][1]
        named = {each.name for each in submit.env_value_from}
        assert {each["name"] for each in program.get("env", ())} <= named
        assert bool(program.get("envFrom")) == bool(submit.env_from)
        identities = {v["name"] for v in pod["volumes"] if "projected" in v}
        assert bool(identities) == bool(submit.service_account and submit.service_account.token)
        for name, each in containers(pod).items():
            seen = {mount["name"] for mount in each.get("volumeMounts", ())}
            assert not identities & seen or name == names.PROGRAM


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
        fetch, *_own, launcher = pod["initContainers"]
        assert (fetch["name"], launcher["name"]) == (names.FETCH, names.LAUNCHER)
        assert "restartPolicy" not in fetch
        assert launcher["restartPolicy"] == "Always"
        assert pod["restartPolicy"] == "Never"


def test_a_jobs_own_containers_start_in_their_order_and_see_only_what_they_mount() -> None:
    ps, worker = pods_of("containers")
    assert [each["name"] for each in ps["initContainers"]] == ["fetch", "clone", "launcher"]
    assert [e["name"] for e in worker["initContainers"]] == ["fetch", "clone", "ship", "launcher"]
    (_, clone, ship, _) = worker["initContainers"]
    assert ("restartPolicy" in clone, ship["restartPolicy"]) == (False, "Always")
    assert [(m["name"], m["mountPath"]) for m in clone["volumeMounts"]] == [("volume-0", "/code")]
    assert "readOnly" not in clone["volumeMounts"][0]
    assert [(m["name"], m["readOnly"]) for m in ship["volumeMounts"]] == [("volume-2", True)]
    assert ship["image"] == "tensorflow:2"
    for own in (clone, ship):
        assert own["resources"]["limits"]["ephemeral-storage"] == "1Gi"


def test_volumes_of_one_name_are_one_volume_at_several_places() -> None:
    for pod in pods_of("containers"):
        mounts = containers(pod)[names.PROGRAM]["volumeMounts"]
        code = [m["mountPath"] for m in mounts if m["name"] == "volume-0"]
        assert code == ["/code", "/lib"]
        assert sum(volume["name"] == "volume-0" for volume in pod["volumes"]) == 1


def test_a_claim_is_read_only_where_nobody_writes_to_it() -> None:
    def claims(**fields: Any) -> list[bool]:
        job = submit(**fields)
        found = mounts.volumes(job, Role.WORKER)
        return [each["persistentVolumeClaim"]["readOnly"] for each in found]

    volume = {"name": "sets", "path": "/sets", "claim": "sets", "read_only": True}
    writer = {"name": "w", "kind": "init", "mounts": [{"volume": "sets", "path": "/x"}]}
    assert claims(volumes=[volume]) == [True]
    assert claims(volumes=[volume], containers=[writer]) == [False]
    assert claims(volumes=[volume, {"path": "/b", "claim": "sets"}]) == [True, False]


def test_a_nodes_directory_is_read_only_for_every_container() -> None:
    volume = {"name": "sets", "path": "/sets", "host_path": "/data", "read_only": True}
    reader = {"name": "r", "kind": "sidecar", "mounts": [{"volume": "sets", "path": "/x"}]}
    job = submit(volumes=[volume], containers=[reader])
    assert mounts.volumes(job, Role.WORKER)[0]["hostPath"] == {"path": "/data", "type": "Directory"}
    own = mounts.of_container(job, Role.WORKER, job.containers[0])
    assert [m["readOnly"] for m in (*mounts.mounts(job, Role.WORKER), *own)] == [True, True]


def test_pods_carry_the_labels_by_which_tfjobs_pods_are_selected() -> None:
    labels = [job["spec"]["template"]["metadata"]["labels"] for job in jobs_of("distribute")]
    mine = [{k: v for k, v in each.items() if k.startswith(names.TRAINING)} for each in labels]
    prefix = f"{names.TRAINING}/"
    chief = {"job-name": "mnist", "replica-type": "chief", "replica-index": "0"}
    assert mine[0] == {prefix + k: v for k, v in (chief | {"job-role": "master"}).items()}
    assert mine[2] == {prefix + "job-name": "mnist", prefix + "replica-type": "worker"}
    second = Member(role=Role.WORKER, index=1, incarnation=1)
    assert names.member_labels("chief=1,worker=2", second) == {
        prefix + "replica-type": "worker",
        prefix + "replica-index": "1",
    }
    first = Member(role=Role.WORKER, index=0, incarnation=1)
    assert prefix + "job-role" in names.member_labels("ps=1,worker=2", first)
    assert prefix + "job-role" not in names.member_labels("chief=1,worker=2", first)


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


@pytest.mark.parametrize("case", CASES)
def test_the_jobs_secret_owns_every_other_object_so_that_all_go_with_it(case: str) -> None:
    secret, *others = objects(case)
    owner = {"apiVersion": "v1", "kind": "Secret", "name": secret["metadata"]["name"], "uid": "uid"}
    assert others
    for each in others:
        assert each["metadata"]["ownerReferences"] == [owner], each["kind"]


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


def test_members_of_an_elastic_job_alone_have_names_that_outlive_their_pods() -> None:
    (service,) = [o for o in objects("elastic") if o["kind"] == "Service"]
    assert service["spec"]["clusterIP"] == "None"
    for job in jobs_of("elastic"):
        pod, marks = job["spec"]["template"]["spec"], job["spec"]["template"]["metadata"]["labels"]
        assert marks.items() >= service["spec"]["selector"].items()
        assert pod["subdomain"] == service["metadata"]["name"]
        launcher = containers(pod)[names.LAUNCHER]["env"]
        known = [each["name"] for each in launcher]
        (host,) = [each for each in launcher if each["name"] == "BAROGRAPH_HOST"]
        # As Kubernetes names an Indexed Job's hosts; it expands only what was said before.
        assert host["value"] == f"{job['metadata']['name']}-$(BAROGRAPH_INDEX).{pod['subdomain']}"
        assert known.index("BAROGRAPH_INDEX") < known.index("BAROGRAPH_HOST")
    assert "Service" not in {o["kind"] for o in objects("distribute")}
    assert "subdomain" not in pods_of("distribute")[0]
