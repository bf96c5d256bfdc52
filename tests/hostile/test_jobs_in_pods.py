"""Jobs in a cluster: what they may name, what is signed for them, and what their pods may take."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.task.launcher import checkpoints
from services.task.runtimes.kubernetes import names, wiring
from services.task.runtimes.kubernetes.allowed import Allowed, repository_of
from services.task.settings import TaskSettings
from services.task.spec import Credentials, MemberSpec, checkpoint_key
from services.task.validation import Quotas, faults
from shared.cluster import Object
from shared.contracts import JobSubmit, Member, Role
from shared.storage import MemoryStore, S3Store
from tests.hostile.archives import archive, file
from tests.unit.task.kubernetes.manifest_cases import CASES, objects

QUOTAS = Quotas(cpu=16, memory=2**40, gpu=0, members=8)


def _submit(**fields: object) -> JobSubmit:
    given = {"job_id": "mine", "name": "n", "package": "barograph:packages:p.tar.gz"}
    return JobSubmit.model_validate(given | {"main": "a.py"} | fields)


NO_PACKAGES = [
    "barograph:jobs/victim/model:model.keras",
    "barograph:jobs/victim:checkpoints.tar.gz",
    "barograph:detector/snapshots:0.npz",
    "another-bucket:packages:p.tar.gz",
    "another-bucket:backups/prod:db.dump",
    "barograph:packages/../jobs/victim:spec.json",
    "barograph:/packages/:p.tar.gz",
    "barograph:packages:..",
]


@pytest.mark.parametrize("package", NO_PACKAGES)
def test_what_is_no_package_is_refused_and_never_signed(package: str) -> None:
    submit = _submit(package=package)
    assert [fault.field for fault in faults(submit, QUOTAS)] == ["package"]
    store = S3Store("http://s3.example", "key", "secret")
    told = json.loads(wiring.specs(TaskSettings(), store)(submit))
    assert [*told["access"]["reads"]] == [f"barograph/{checkpoint_key('mine')}"]


def test_a_package_is_taken_and_signed() -> None:
    assert faults(_submit(), QUOTAS) == ()
    store = S3Store("http://s3.example", "key", "secret")
    told = json.loads(wiring.specs(TaskSettings(), store)(_submit()))
    assert "barograph/packages/p.tar.gz" in told["access"]["reads"]


ALLOWED = Allowed(
    images=("tensorflow/tensorflow", "registry.example:5000/team/", ""),
    priority_classes=("low", ""),
    queues=("research",),
)


@pytest.mark.parametrize(
    "image",
    [
        "tensorflow/tensorflow",
        "tensorflow/tensorflow:2.20.0-gpu",
        "docker.io/tensorflow/tensorflow:2.20.0",
        "tensorflow/tensorflow@sha256:" + "0" * 64,
        "registry.example:5000/team/own/image:1",
    ],
)
def test_allowed_images_are_taken_however_they_are_written(image: str) -> None:
    assert list(ALLOWED.faults(_submit(image=image, role_images={"worker": image}))) == []


@pytest.mark.parametrize(
    "image",
    [
        "evil/tensorflow",
        "tensorflow",
        "tensorflow/tensorflow-evil",
        "tensorflow/tensorflow/evil:2",
        "evil.example/tensorflow/tensorflow",
        "tensorflow/tensorflow/../../evil/x",
        "registry.example:5000/team",
        "registry.example:5000/team-evil/x",
        "registry.example/team/x",
        "registry.example:5000/team/../x",
        "tensorflow//tensorflow",
    ],
)
def test_other_images_are_refused(image: str) -> None:
    found = list(ALLOWED.faults(_submit(image=image, role_images={"worker": image})))
    assert [fault.field for fault in found] == ["image", "role_images.worker"]


@given(st.text("abz019./:@-_A", min_size=1, max_size=30))
def test_what_is_allowed_is_below_an_allowed_repository(image: str) -> None:
    name = f"registry.example:5000/team/{image}"
    repository = repository_of(name)
    if repository is not None:
        assert repository.startswith("registry.example:5000/team/")
        assert not {"", ".", ".."} & {*repository.split("/")}


def test_priority_classes_and_queues_are_those_of_the_installation() -> None:
    def refused(**fields: str) -> list[str]:
        return [fault.field for fault in ALLOWED.faults(_submit(**fields))]

    assert refused(priority_class="low", queue="research") == []
    assert refused(priority_class="high", queue="other") == ["priority_class", "queue"]
    everything = Allowed(priority_classes=("*",), queues=("*",))
    named = _submit(priority_class="system-node-critical", queue="any")
    assert [fault.field for fault in everything.faults(named)] == ["priority_class"]


_REFERENCES = {
    "volumes": [
        {"path": "/a", "claim": "datasets"},
        {"path": "/b", "config_map": "train"},
        {"path": "/c", "secret": "keys"},
        {"path": "/d", "empty": {}},
        {"path": "/e", "nfs": {"server": "nfs.example", "path": "/exports/sets"}},
        {"path": "/f", "host_path": "/data/sets", "read_only": True},
    ],
    "env_from": [{"secret": "keys"}, {"config_map": "train"}],
    "env_value_from": [
        {"name": "A", "secret": "keys", "key": "a"},
        {"name": "B", "config_map": "train", "key": "b"},
        {"name": "C", "field": "metadata.name"},
    ],
    "containers": [
        {
            "name": "side",
            "kind": "sidecar",
            "image": "evil/side",
            "storage": "65Gi",
            "env_from": [{"secret": "keys"}],
            "env_value_from": [{"name": "A", "secret": "keys", "key": "a"}],
        }
    ],
    "image_pull_secrets": ["registry"],
    "service_account": {"name": "trainer"},
    "host_network": True,
    "scheduling": {"tolerations": [{"key": "nvidia.com/gpu"}], "runtime_class": "kata"},
    "role_scheduling": {"worker": {"node_selector": {"pool": "other"}}},
    "resources": {"storage": "65Gi"},
}
_BOUNDS = {"storage": "64Gi", "node_selector": {"pool": "jobs"}}


def test_what_a_job_brings_beside_its_program_must_be_allowed_by_name() -> None:
    submit = _submit(**_REFERENCES)
    assert [fault.field for fault in Allowed(**_BOUNDS).faults(submit)] == [
        "volumes.0.claim",
        "volumes.1.config_map",
        "volumes.2.secret",
        "volumes.4.nfs",
        "volumes.5.host_path",
        "env_from.0.secret",
        "env_from.1.config_map",
        "env_value_from.0.secret",
        "env_value_from.1.config_map",
        "containers.0.image",
        "containers.0.env_from.0.secret",
        "containers.0.env_value_from.0.secret",
        "containers.0.storage",
        "image_pull_secrets",
        "service_account.name",
        "host_network",
        "scheduling.tolerations.0.key",
        "scheduling.runtime_class",
        "role_scheduling.worker.node_selector.pool",
        "resources.storage",
        "containers",
    ]
    named = Allowed(
        images=["evil/side"],
        claims=["datasets"],
        config_maps=["train"],
        secrets=["keys", "registry"],
        nfs=["NFS.example:/exports"],
        host_paths=["/data/"],
        tolerations=["nvidia.com/gpu"],
        runtime_classes=["kata"],
        service_accounts=["trainer"],
        host_network=True,
        storage="130Gi",
        node_selector={"pool": "other"},
    )
    assert list(named.faults(submit)) == []


@pytest.mark.parametrize(
    ("allowed", "volume"),
    [
        ("/data/sets", {"host_path": "/data/sets2", "read_only": True}),
        ("/data/sets", {"host_path": "/data", "read_only": True}),
        ("/data/sets", {"host_path": "/", "read_only": True}),
        ("n:/exports", {"nfs": {"server": "n", "path": "/exports2"}}),
        ("n:/exports", {"nfs": {"server": "m", "path": "/exports"}}),
        ("n:/exports", {"nfs": {"server": "n", "path": "/"}}),
        ("n:/exports", {"nfs": {"server": "n.evil", "path": "/exports"}}),
    ],
)
def test_a_directory_is_allowed_with_what_lies_below_it_only(
    allowed: str, volume: dict[str, object]
) -> None:
    submit = _submit(volumes=[{"path": "/a", **volume}])
    assert list(Allowed(nfs=[allowed], host_paths=[allowed]).faults(submit))


def test_everything_by_allow_list_is_empty_until_an_operator_fills_it() -> None:
    defaults = TaskSettings.model_construct()
    assert defaults.allowed_images == ("tensorflow/tensorflow",)
    assert defaults.allowed_queues == ("*",)
    others = {name for name in TaskSettings.model_fields if name.startswith("allowed_")}
    others -= {"allowed_images", "allowed_queues", "allowed_host_network"}
    assert defaults.allowed_host_network is False
    assert {name: getattr(defaults, name) for name in others} == dict.fromkeys(others, ())


@pytest.mark.parametrize("key", ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"])
def test_how_long_a_node_may_be_away_is_not_the_jobs_to_say(key: str) -> None:
    submit = _submit(scheduling={"tolerations": [{"key": key}]})
    (fault,) = Allowed(tolerations=["*"]).faults(submit)
    assert fault.field == "scheduling.tolerations.0.key"


@pytest.mark.parametrize(
    "scheduling",
    [
        {"tolerations": [{"operator": "Exists"}]},
        {"tolerations": [{"key": ""}]},
        {"tolerations": [{"key": "a", "value": "b"}]},
        {"tolerations": [{"key": "a", "seconds": 1}]},
        {"node_selector": {"a b": "c"}},
        {"node_selector": {"a": "c/d"}},
        {"node_terms": [{"expressions": []}]},
        {"node_terms": [{"expressions": [{"key": "a"}]}]},
        {"node_terms": [{"expressions": [{"key": "a", "operator": "Gt", "values": ["x"]}]}]},
        {"topology_spread": [{"topology_key": "a", "min_domains": 2}]},
        {"topology_spread": [{"topology_key": "a"}, {"topology_key": "a"}]},
        {"runtime_class": "../x"},
    ],
)
def test_what_no_scheduler_could_read_is_refused(scheduling: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _submit(scheduling=scheduling)


@pytest.mark.parametrize(
    "container",
    [
        {"name": "program"},
        {"name": "launcher"},
        {"name": "fetch"},
        {"name": "Side"},
        {"kind": "main"},
        {"mounts": [{"volume": "job", "path": "/a"}]},
        {"mounts": [{"volume": "data", "path": "/barograph/private"}]},
        {"mounts": [{"volume": "data", "path": "/a"}, {"volume": "data", "path": "/a"}]},
        {"mounts": [{"volume": "data", "path": "/a", "sub_path": "../b"}]},
        {"roles": ["ps"]},
        {"env_from": [{"secret": "a", "roles": ["worker"]}]},
        {"env_value_from": [{"name": "A", "secret": "a"}]},
        {"env_value_from": [{"name": "A", "field": "spec.secret"}]},
        {"env_value_from": [{"name": "A", "annotation": "a'] or ['b"}]},
    ],
)
def test_a_container_of_the_jobs_own_reaches_nothing_of_the_platforms(
    container: dict[str, object],
) -> None:
    side = {"name": "side", "kind": "sidecar", **container}
    with pytest.raises(ValidationError):
        _submit(volumes=[{"name": "data", "empty": {}}], containers=[side])


def test_a_jobs_own_containers_count_in_its_quota() -> None:
    side = {"name": "side", "kind": "sidecar", "cpu": 9, "memory": "1Gi"}
    heavy = {"name": "heavy", "kind": "init", "cpu": 8, "memory": "1Gi"}
    found = faults(_submit(resources={"cpu": 8}, containers=[side]), QUOTAS)
    assert [(f.field, "its own containers" in f.problem) for f in found] == [
        ("resources.cpu", True)
    ]
    assert _submit(resources={"cpu": 2}, containers=[heavy]).total_cpu == 8
    assert _submit(resources={"cpu": 2}, containers=[side, heavy]).total_cpu == 17


_RESTRICTED_VOLUMES = {
    "configMap",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def _violations(pod: Object) -> list[str]:
    """What the Pod Security level `restricted` would refuse, where a namespace enforces it."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    volumes = {key for each in pod["volumes"] for key in each} - {"name"}
    return [*found, *(volumes - _RESTRICTED_VOLUMES)]


@pytest.mark.parametrize("case", CASES)
def test_what_pods_may_do_with_their_nodes_does_not_hang_on_a_label_of_their_namespace(
    case: str,
) -> None:
    _, submit = CASES[case]
    pods = [each["spec"]["template"]["spec"] for each in objects(case) if each["kind"] == "Job"]
    refused = {fault.field.split(".")[0] for fault in Allowed(images=["*"]).faults(submit)}
    for violation in {each for pod in pods for each in _violations(pod)}:
        assert {"hostNetwork": "host_network"}.get(violation, "volumes") in refused, violation


def test_the_network_of_nodes_is_allowed_by_the_installation() -> None:
    submit = _submit(host_network=True)
    (fault,) = Allowed.of(TaskSettings()).faults(submit)
    assert (fault.field, "ALLOWED_HOST_NETWORK" in fault.problem) == ("host_network", True)
    assert list(Allowed.of(TaskSettings(allowed_host_network=True)).faults(submit)) == []


@pytest.mark.parametrize(
    ("kind", "program", "refused"),
    [
        ("sidecar", None, True),
        ("sidecar", "10Gi", True),
        ("init", "10Gi", False),
        ("init", None, False),
    ],
)
def test_containers_of_one_pod_share_the_disk_space_that_is_allowed(
    kind: str, program: str | None, refused: bool
) -> None:
    own = [{"name": f"a{n}", "kind": kind, "storage": "33Gi"} for n in range(2)]
    submit = _submit(containers=own, resources={"storage": program})
    found = [fault.field for fault in Allowed(images=["*"], storage="64Gi").faults(submit)]
    assert found == (["containers"] if refused else [])
    assert not list(Allowed(images=["*"]).faults(submit))


def test_no_word_allows_the_secrets_of_other_jobs() -> None:
    others = names.base_name("another-job")
    submit = _submit(volumes=[{"path": "/c", "secret": others}], env_from=[{"secret": others}])
    everything = Allowed(claims=["*"], config_maps=["*"], secrets=["*"])
    found = [fault.field for fault in everything.faults(submit)]
    assert found == ["volumes.0.secret", "env_from.0.secret"]
    with pytest.raises(ValidationError):
        TaskSettings(allowed_secrets=["*"])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "//x",
        "x",
        "",
        "/a/",
        "/a/../barograph",
        "/./a",
        "/barograph",
        "/barograph/exchange/x",
        "/proc/self",
        "/sys",
        "/dev",
        "/dev/sda",
        "/dev/shm/x",
        "/var/run/secrets/kubernetes.io",
        "/a:b",
        "/a\nb",
        "/a\x00",
    ],
)
def test_a_volume_lies_over_nothing_of_the_platforms_or_the_systems(path: str) -> None:
    with pytest.raises(ValidationError):
        _submit(volumes=[{"path": path, "empty": {}}])


@pytest.mark.parametrize(
    "volume",
    [
        {"path": "/a"},
        {"path": "/a", "claim": "x", "secret": "y"},
        {"path": "/a", "claim": "../x"},
        {"path": "/a", "claim": "x", "sub_path": "../y"},
        {"path": "/a", "claim": "x", "roles": ["ps"]},
        {"path": "/a", "empty": {"size": "-1"}},
        {"path": "/a", "host": "/"},
        {"path": "/a", "host_path": "/"},
        {"path": "/a", "host_path": "/data/../etc", "read_only": True},
        {"path": "/a", "nfs": {"server": "-o x", "path": "/"}},
        {"path": "/a", "nfs": {"server": "n", "path": "/a/../b"}},
        {"path": "/a", "secret": "x", "items": {"k": "../y"}},
        {"path": "/a", "claim": "x", "optional": True},
        {"empty": {}},
    ],
)
def test_a_volume_has_one_source_and_names_nothing_outside_it(volume: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _submit(volumes=[volume])


def test_two_volumes_of_a_role_are_not_at_one_place() -> None:
    with pytest.raises(ValidationError, match="more than one of worker is at /a"):
        _submit(volumes=[{"path": "/a", "empty": {}}, {"path": "/a", "claim": "x"}])


def _pods() -> Iterator[Object]:
    for case in CASES:
        for each in objects(case):
            if each["kind"] == "Job":
                yield each["spec"]["template"]["spec"]


def test_every_pod_is_confined_and_bounded_on_its_nodes_disk() -> None:
    number = 0
    for pod in _pods():
        number += 1
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for volume in pod["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"]
        for container in (*pod["initContainers"], *pod["containers"]):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert {"memory", "ephemeral-storage"} <= {*container["resources"]["limits"]}
            assert "ephemeral-storage" in container["resources"]["requests"]
    assert number >= len(CASES)


def test_only_the_launchers_containers_see_the_secret_and_they_import_nothing_of_the_job() -> None:
    for pod in _pods():
        (program,) = pod["containers"]
        assert {"job", "private"} & {mount["name"] for mount in program["volumeMounts"]} == set()
        for own in pod["initContainers"][1:-1]:
            assert {"job", "private"} & {m["name"] for m in own.get("volumeMounts", ())} == set()
        for ours in (pod["initContainers"][0], pod["initContainers"][-1]):
            assert ours["command"][:3] == ["python3", "-P", "-m"]
            assert {"name": "PYTHONNOUSERSITE", "value": "1"} in ours["env"]


def _member(private: Path) -> MemberSpec:
    return MemberSpec(
        job=_submit(),
        member=Member(role=Role.WORKER, index=1, incarnation=1),
        primary=False,
        directory=str(private),
        checkpoints="",
        host="",
        credentials=Credentials(broker_url="amqp://broker", bucket="barograph"),
    )


def test_checkpoints_are_not_restored_through_a_link_of_the_program(tmp_path: Path) -> None:
    private, directory = tmp_path / "private", tmp_path / "checkpoints"
    for each in (private, directory, directory / "ok"):
        each.mkdir()
    (private / "spec").write_text("theirs")
    (directory / "services").symlink_to(private)
    (directory / "ok/file").symlink_to(private / "spec")
    store = MemoryStore()
    store.ensure_bucket("barograph")
    made = archive(
        tmp_path / "a.tar.gz", file("services/main.py", b"evil"), file("ok/file", b"new")
    )
    store.put("barograph", checkpoint_key("mine"), made)
    assert checkpoints.restore(store, _member(private), directory)
    assert [path.name for path in private.iterdir()] == ["spec"]
    assert (private / "spec").read_text() == "theirs"
    assert (directory / "services/main.py").read_bytes() == b"evil"
    assert (directory / "ok/file").read_bytes() == b"new"


def test_checkpoints_of_zeros_and_with_odd_names_come_back(tmp_path: Path) -> None:
    private, directory, other = (tmp_path / name for name in ("private", "checkpoints", "other"))
    for each in (private, directory, other):
        each.mkdir()
    with (directory / "weights").open("wb") as weights:
        weights.truncate(50 << 20)
    (directory / "new\nline").write_text("x")
    made = tmp_path / "a.tar.gz"
    checkpoints.pack(directory, made)
    with tarfile.open(made) as tar:
        assert tar.getnames() == ["weights"]
    store = MemoryStore()
    store.ensure_bucket("barograph")
    store.put("barograph", checkpoint_key("mine"), made)
    assert checkpoints.restore(store, _member(private), other)
    assert (other / "weights").stat().st_size == 50 << 20
