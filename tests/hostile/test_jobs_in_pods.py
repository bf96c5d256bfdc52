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
    ],
    "env_from": [{"secret": "keys"}, {"config_map": "train"}],
    "image_pull_secrets": ["registry"],
}


def test_what_a_job_takes_from_its_namespace_must_be_allowed_by_name() -> None:
    submit = _submit(**_REFERENCES)
    assert [fault.field for fault in ALLOWED.faults(submit)] == [
        "volumes.0.claim",
        "volumes.1.config_map",
        "volumes.2.secret",
        "env_from.0.secret",
        "env_from.1.config_map",
        "image_pull_secrets",
    ]
    named = Allowed(claims=["datasets"], config_maps=["train"], secrets=["keys", "registry"])
    assert list(named.faults(submit)) == []


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
        for ours in pod["initContainers"]:
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
