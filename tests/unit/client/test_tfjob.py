"""A TFJob becomes a job of ours, and nothing of it is overlooked."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import JobSubmit
from shared.tfjob import Imported, NotImportableError, import_tfjob, write
from shared.tfjob.importing import _EARLY_POLICY
from shared.tfjob.quantities import amount, memory
from tests.signal_masks import settable

PS_JOB = b"""
apiVersion: kubeflow.org/v1
kind: TFJob
metadata:
  name: digits
  namespace: kubeflow
spec:
  runPolicy:
    cleanPodPolicy: None
    ttlSecondsAfterFinished: 600
    activeDeadlineSeconds: 3600
    backoffLimit: 2
    schedulingPolicy: {queue: research, priorityClass: high, scheduleTimeoutSeconds: 120}
  tfReplicaSpecs:
    PS:
      replicas: 2
      restartPolicy: OnFailure
      template: &pod
        metadata: {annotations: {"sidecar.istio.io/inject": "false"}}
        spec:
          containers:
            - name: tensorflow
              image: example.org/digits:1
              command: [python3, /opt/train.py]
              args: ["--steps=$(STEPS)"]
              env: [{name: STEPS, value: "100"}]
              ports: [{containerPort: 2222, name: tfjob-port}]
              resources: {limits: {cpu: 500m, memory: 1Gi}}
    Worker:
      replicas: 3
      restartPolicy: OnFailure
      template:
        spec:
          nodeSelector: {nvidia.com/gpu.product: A100}
          containers:
            - name: tensorflow
              image: example.org/digits:1
              command: [python3, /opt/train.py]
              args: ["--steps=$(STEPS)"]
              env: [{name: STEPS, value: "100"}]
              resources: {limits: {cpu: 4, memory: 1.5Gi, nvidia.com/gpu: 1}}
"""


def tfjob(change=None) -> bytes:
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(PS_JOB))
    if change is not None:
        change(document)
    return yaml.safe_dump(document, sort_keys=False).encode()


def pod(document: dict[str, Any], role: str = "Worker") -> dict[str, Any]:
    return document["spec"]["tfReplicaSpecs"][role]["template"]["spec"]


def container(document: dict[str, Any], role: str = "Worker") -> dict[str, Any]:
    return pod(document, role)["containers"][0]


def faults(change, **options: bool) -> list[str]:
    with pytest.raises(NotImportableError) as refused:
        import_tfjob(tfjob(change), **options)
    return refused.value.faults


def submit(imported) -> JobSubmit:
    extra = {"job_id": "j", "main": "main.py", "package": "barograph:packages:a.tar.gz"}
    return JobSubmit.model_validate(imported.body | extra)


def test_a_parameter_server_job_keeps_what_it_asked_for() -> None:
    imported = import_tfjob(PS_JOB)
    job = submit(imported)
    assert job.roles() == {"ps": 2, "worker": 3}
    assert (job.name, job.image) == ("digits", "example.org/digits:1")
    assert (job.queue, job.priority_class, job.max_retries) == ("research", "high", 2)
    assert (job.timeouts.run_s, job.timeouts.wait_s) == (3600, 120)
    ps, worker = job.resources_of("ps"), job.resources_of("worker")
    assert (ps.cpu, ps.memory, ps.gpu) == (0.5, "1024Mi", 0)
    assert (worker.cpu, worker.memory, worker.gpu, worker.gpu_model) == (4, "1536Mi", 1, "A100")
    argv = ["python3", "/opt/train.py", "--steps=$(STEPS)"]
    assert imported.commands["ps"] == imported.commands["worker"]
    assert imported.commands["ps"] == {"argv": argv, "env": [("STEPS", "100")], "cwd": ""}


def told_by(labels: object = None, **annotations: str) -> Imported:
    document = yaml.safe_load(PS_JOB)
    words = {f"barograph.io/{name.replace('_', '-')}": text for name, text in annotations.items()}
    document["metadata"] |= {"labels": labels, "annotations": words | {"example.org/x": "y"}}
    return import_tfjob(yaml.safe_dump(document).encode())


def test_its_labels_and_annotations_say_who_is_notified() -> None:
    labels = {"project": "vision", "app.kubernetes.io/name": "digits", "bad key": "x", "n": 1}
    asked = {"notify": "mail:ann@example.org, slack", "notify_pending_seconds": "60"}
    imported = told_by(labels, **asked, notify_on="failed")
    assert imported.body["labels"] == {"project": "vision", "app.kubernetes.io/name": "digits"}
    assert imported.body["notify"] == {
        "to": ["mail:ann@example.org", "slack"],
        "on": ["failed"],
        "pending_s": 60,
    }
    notes = "\n".join(imported.notes)
    assert "metadata.labels: left out: 2 of them" in notes
    assert "metadata.annotations.example.org/x: left out" in notes
    assert len(told_by({f"l{n}": "" for n in range(50)}).body["labels"]) == 32


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"notify": "ann@example.org"}, "barograph.io/notify"),
        ({"notify": "slack", "notify_on": "sometimes"}, "barograph.io/notify-on"),
        ({"notify": "slack", "notify_pending_seconds": "-1"}, "barograph.io/notify-pending"),
        ({"notify_on": "failed"}, "names the recipients"),
    ],
)
def test_what_is_wrong_with_its_annotations_is_named(wrong, words) -> None:
    with pytest.raises(NotImportableError, match=re.escape(words)):
        told_by(None, **wrong)


def test_what_is_left_out_without_harm_is_said() -> None:
    notes = "\n".join(import_tfjob(PS_JOB).notes)
    for path in (
        "metadata.namespace",
        "spec.runPolicy.cleanPodPolicy",
        "spec.runPolicy.ttlSecondsAfterFinished",
        "PS.template.metadata.annotations",
        "PS.template.spec.containers[0].ports",
        "Worker.restartPolicy",
    ):
        assert f"{path}: " in notes


UNSUPPORTED = {
    "volumes": ("Worker.template.spec.volumes[0]", "data"),
    "tolerations": ("Worker.template.spec.tolerations[0]", "name the keys of the taints"),
    "ephemeralContainers": ("Worker.template.spec.ephemeralContainers", "not known here"),
    "nodeSelectr": ("Worker.template.spec.nodeSelectr", "not known here"),
}


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_an_unsupported_or_misspelt_field_is_named_with_what_to_do(field: str) -> None:
    def change(document) -> None:
        document["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"][field] = [{}]

    path, what = UNSUPPORTED[field]
    (fault,) = faults(change)
    assert fault.startswith(f"spec.tfReplicaSpecs.{path}: ")
    assert what in fault


def dynamic(**more: Any) -> Callable[[dict[str, Any]], None]:
    """PS_JOB with a Chief like its workers, whose workers may come and go."""

    def change(document: dict[str, Any]) -> None:
        specs = document["spec"]["tfReplicaSpecs"]
        specs["Chief"] = copy.deepcopy(specs["Worker"]) | {"replicas": 1}
        document["spec"] |= {"enableDynamicWorker": True, **more}

    return change


def test_dynamic_workers_are_those_of_an_elastic_job() -> None:
    imported = import_tfjob(tfjob(dynamic()))
    assert submit(imported).elastic
    assert any(note.startswith("spec.enableDynamicWorker: ") for note in imported.notes)


@pytest.mark.parametrize("chief", [True, False])
def test_dynamic_workers_are_refused_where_no_worker_can_come_back(chief: bool) -> None:
    def without_chief(document: dict[str, Any]) -> None:
        document["spec"]["enableDynamicWorker"] = True

    change = dynamic(successPolicy="AllWorkers") if chief else without_chief
    (fault,) = faults(change)
    assert fault.startswith("spec.enableDynamicWorker: ")


def test_all_faults_are_named_at_once() -> None:
    def change(document) -> None:
        document["spec"]["enableDynamicWorker"] = True
        document["spec"]["tfReplicaSpecs"]["Launcher"] = {}
        container(document)["env"].append({"name": "KEY", "valueFrom": {"secretKeyRef": {}}})
        container(document)["resources"]["limits"]["hugepages-2Mi"] = "1Gi"

    assert len(faults(change)) == 4


def test_force_goes_on_without_the_unsupported_and_says_so() -> None:
    def change(document) -> None:
        pod(document)["volumes"] = [{"name": "data", "csi": {"driver": "s"}}]
        container(document)["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]

    imported = import_tfjob(tfjob(change), force=True)
    assert submit(imported).roles() == {"ps": 2, "worker": 3}
    assert any(n.startswith("left out: ") and "volumes[0].csi" in n for n in imported.notes)


def test_volumes_and_references_come_with_their_roles() -> None:
    def change(document) -> None:
        for role in ("PS", "Worker"):
            pod(document, role)["volumes"] = [
                {"name": "data", "persistentVolumeClaim": {"claimName": "sets", "readOnly": True}},
                {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
                {"name": "conf", "configMap": {"name": "train", "defaultMode": 420}},
                {"name": "keys", "secret": {"secretName": "keys"}},
            ]
            pod(document, role)["imagePullSecrets"] = [{"name": "registry"}]
            container(document, role)["envFrom"] = [
                {"secretRef": {"name": "keys"}, "prefix": "KEY_"},
                {"configMapRef": {"name": "train"}},
            ]
            container(document, role)["volumeMounts"] = [
                {"name": "data", "mountPath": "/data/", "subPath": "mnist"},
                {"name": "dshm", "mountPath": "/dev/shm"},
                {"name": "conf", "mountPath": "/etc/train"},
            ]
        keys = {"name": "keys", "mountPath": "/keys", "readOnly": True}
        container(document)["volumeMounts"].append(keys)

    job = submit(import_tfjob(tfjob(change)))
    told = [each.model_dump(exclude_defaults=True, mode="json") for each in job.volumes]
    assert told == [
        {"path": "/data", "claim": "sets", "sub_path": "mnist", "read_only": True},
        {"path": "/dev/shm", "empty": {"size": "2048Mi", "memory": True}},
        {"path": "/etc/train", "config_map": "train"},
        {"path": "/keys", "secret": "keys", "read_only": True, "roles": ["worker"]},
    ]
    told = [each.model_dump(exclude_defaults=True) for each in job.env_from]
    assert told == [{"secret": "keys", "prefix": "KEY_"}, {"config_map": "train"}]
    assert job.image_pull_secrets == ("registry",)


BAD_VOLUMES = {
    "volumes[0].ephemeral": ({"ephemeral": {"volumeClaimTemplate": {}}}, {}),
    "containers[0].volumeMounts[0]": ({"hostPath": {"path": "/"}}, {}),
    "volumes[0].hostPath.type": ({"hostPath": {"path": "/", "type": "Socket"}}, {"readOnly": True}),
    "volumes[0].nfs": ({"nfs": {"server": "s"}}, {}),
    "volumes[0]": ({"emptyDir": {}, "secret": {"secretName": "x"}}, {}),
    "volumes[0].persistentVolumeClaim": ({"persistentVolumeClaim": {}}, {}),
    "volumes[0].emptyDir.sizeLimit": ({"emptyDir": {"sizeLimit": "much"}}, {}),
    "volumes[0].emptyDir.medium": ({"emptyDir": {"medium": "HugePages"}}, {}),
    "containers[0].volumeMounts[0].name": ({"emptyDir": {}}, {"name": "other"}),
    "containers[0].volumeMounts[0].mountPath": ({"emptyDir": {}}, {"mountPath": None}),
    "containers[0].volumeMounts[0].mountPropagation": (
        {"emptyDir": {}},
        {"mountPropagation": "Bidirectional"},
    ),
}


@pytest.mark.parametrize("path", BAD_VOLUMES)
def test_a_volume_that_cannot_be_had_is_named(path: str) -> None:
    source, mount = BAD_VOLUMES[path]

    def change(document) -> None:
        pod(document)["volumes"] = [{"name": "data"} | source]
        container(document)["volumeMounts"] = [{"name": "data", "mountPath": "/data"} | mount]

    (fault,) = faults(change)
    assert fault.startswith(f"spec.tfReplicaSpecs.Worker.template.spec.{path}: ")


GIT_SYNC = """
serviceAccountName: trainer
automountServiceAccountToken: false
runtimeClassName: nvidia
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
nodeSelector: {nvidia.com/gpu.product: A100, pool: gpus}
tolerations:
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  - {key: team, value: vision}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [ssd]}]}]
    preferredDuringSchedulingIgnoredDuringExecution:
      - {weight: 7, preference: {matchExpressions: [{key: zone, operator: Exists}]}}
topologySpreadConstraints:
  - maxSkew: 2
    topologyKey: zone
    whenUnsatisfiable: DoNotSchedule
    labelSelector: {matchLabels: {app: digits}}
volumes:
  - {name: code, emptyDir: {sizeLimit: 1Gi}}
  - {name: sets, nfs: {server: nfs.example, path: /exports, readOnly: true}}
  - {name: node, hostPath: {path: /data/cache, type: Directory}}
  - {name: ca, configMap: {name: ca, optional: true, items: [{key: ca.crt, path: ca.pem}]}}
initContainers:
  - name: clone
    image: example.org/git:1
    command: [git, clone, $(REPOSITORY), /code]
    env:
      - {name: REPOSITORY, value: "https://git.example/digits"}
      - {name: PASSWORD, valueFrom: {secretKeyRef: {name: git, key: password}}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: code, mountPath: /code}]
    resources: {limits: {cpu: 200m, memory: 64Mi, ephemeral-storage: 2Gi}}
  - {name: proxy, image: "example.org/proxy:1", restartPolicy: Always}
"""


def test_all_that_a_pod_template_commonly_says_comes_with_its_role() -> None:
    def change(document) -> None:
        pod(document).update(yaml.safe_load(GIT_SYNC))
        mounts = [
            {"name": "code", "mountPath": "/code", "readOnly": True},
            {"name": "code", "mountPath": "/lib", "subPath": "lib/"},
            {"name": "sets", "mountPath": "/sets"},
            {"name": "node", "mountPath": "/cache", "readOnly": True},
            {"name": "ca", "mountPath": "/ca"},
        ]
        container(document).update(volumeMounts=mounts, envFrom=[{"secretRef": {"name": "keys"}}])
        ship = {"name": "ship", "image": "example.org/ship:1", "args": ["-v"]}
        pod(document)["containers"].append(
            ship | {"volumeMounts": [{"name": "code", "mountPath": "/in", "readOnly": True}]}
        )
        container(document)["env"] += [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {
                "name": "APP",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['training/app']"}},
            },
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]
        pod(document, "PS")["serviceAccountName"] = "trainer"
        pod(document, "PS")["automountServiceAccountToken"] = False

    imported = import_tfjob(tfjob(change))
    job = submit(imported)
    told = job.model_dump(exclude_defaults=True, mode="json")
    assert told["service_account"] == {"name": "trainer"}
    assert told["role_scheduling"]["ps"] == {}
    assert told["role_scheduling"]["worker"] == {
        "node_selector": {"pool": "gpus"},
        "node_terms": [{"expressions": [{"key": "disk", "values": ["ssd"]}]}],
        "preferred_nodes": [{"expressions": [{"key": "zone", "operator": "Exists"}], "weight": 7}],
        "tolerations": [
            {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "vision"},
        ],
        "topology_spread": [
            {"topology_key": "zone", "max_skew": 2, "when_unsatisfiable": "DoNotSchedule"}
        ],
        "runtime_class": "nvidia",
    }
    code = {"name": "code", "empty": {"size": "1024Mi"}, "roles": ["worker"]}
    assert told["volumes"] == [
        code | {"path": "/code", "read_only": True},
        code | {"path": "/lib", "sub_path": "lib"},
        {
            "path": "/sets",
            "nfs": {"server": "nfs.example", "path": "/exports"},
            "read_only": True,
            "roles": ["worker"],
        },
        {"path": "/cache", "host_path": "/data/cache", "read_only": True, "roles": ["worker"]},
        {
            "path": "/ca",
            "config_map": "ca",
            "optional": True,
            "items": {"ca.crt": "ca.pem"},
            "roles": ["worker"],
        },
    ]
    clone, proxy, ship = told["containers"]
    assert clone == {
        "name": "clone",
        "kind": "init",
        "image": "example.org/git:1",
        "command": ["git", "clone", "$(REPOSITORY)", "/code"],
        "env": {"REPOSITORY": "https://git.example/digits"},
        "env_value_from": [{"name": "PASSWORD", "secret": "git", "key": "password"}],
        "mounts": [{"volume": "code", "path": "/code"}],
        "cpu": 0.2,
        "memory": "64Mi",
        "storage": "2048Mi",
        "roles": ["worker"],
    }
    assert [(each["name"], each["kind"]) for each in (proxy, ship)] == [
        ("proxy", "sidecar"),
        ("ship", "sidecar"),
    ]
    assert told["env_from"] == [{"secret": "keys", "roles": ["worker"]}]
    assert told["env_value_from"] == [
        {"name": "NODE", "field": "spec.nodeName", "roles": ["worker"]},
        {"name": "APP", "label": "training/app", "roles": ["worker"]},
        {"name": "CPU", "resource": "limits.cpu", "roles": ["worker"]},
    ]
    assert any("labelSelector: left out" in note for note in imported.notes)


def test_variables_that_kubernetes_puts_in_can_be_referred_to(tmp_path: Path) -> None:
    def change(document) -> None:
        for role in ("PS", "Worker"):
            container(document, role)["command"] = [sys.executable, "-c", SHOW, "$(URL)", "$(S)"]
            container(document, role)["args"] = []
            container(document, role)["envFrom"] = [{"configMapRef": {"name": "more"}}]
            container(document, role)["env"] = [
                {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                {"name": "URL", "value": "http://$(HOST):80"},
            ]

    commands = import_tfjob(tfjob(change)).commands
    told = run_imported(commands, tmp_path, HOST="10.0.0.7", S="of the ConfigMap")
    assert told[0] == ["http://10.0.0.7:80", "of the ConfigMap"]
    assert (told[1]["HOST"], told[1]["URL"]) == ("10.0.0.7", "http://10.0.0.7:80")


MORE_THAN_A_JOB = {
    "securityContext.privileged": lambda d: container(d).update(
        securityContext={"privileged": True}
    ),
    "securityContext.runAsUser": lambda d: pod(d).update(securityContext={"runAsUser": 0}),
    "securityContext.capabilities": lambda d: container(d).update(
        securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}
    ),
    "hostPID": lambda d: pod(d).update(hostPID=True),
    "shareProcessNamespace": lambda d: pod(d).update(shareProcessNamespace=True),
    "nodeName": lambda d: pod(d).update(nodeName="master-0"),
    "initContainers[0].securityContext.privileged": lambda d: pod(d).update(
        initContainers=[{"name": "x", "image": "x", "securityContext": {"privileged": True}}]
    ),
    "podAntiAffinity": lambda d: pod(d).update(affinity={"podAntiAffinity": {"a": [1]}}),
    "matchFields": lambda d: pod(d).update(
        affinity={
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [{"key": "a", "operator": "Exists"}],
                            "matchFields": [{"key": "metadata.name"}],
                        }
                    ]
                }
            }
        }
    ),
    "volumeDevices": lambda d: container(d).update(volumeDevices=[{"name": "a"}]),
    "resourceFieldRef": lambda d: container(d).update(
        env=[
            {
                "name": "A",
                "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}},
            }
        ]
    ),
    "fieldPath": lambda d: container(d).update(
        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}]
    ),
}


@pytest.mark.parametrize("what", MORE_THAN_A_JOB)
def test_a_tfjob_never_gets_more_than_a_job_could_ask_for(what: str) -> None:
    told = faults(MORE_THAN_A_JOB[what])
    assert len(told) == 1
    assert what in told[0].partition(": ")[0]
    forced = submit(import_tfjob(tfjob(MORE_THAN_A_JOB[what]), force=True))
    assert "privileged" not in forced.model_dump_json()


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(NotImportableError, match="'replicas' is given twice"):
        import_tfjob(PS_JOB.replace(b"replicas: 3", b"replicas: 3\n      replicas: 4"))


def test_yaml_can_make_no_objects() -> None:
    with pytest.raises(NotImportableError, match="not usable YAML"):
        import_tfjob(b"a: !!python/object/apply:os.getcwd []")


@pytest.mark.parametrize("role", ["Worker", "Chief", "Master"])
def test_one_container_alone_is_a_single_job(role: str) -> None:
    def change(document) -> None:
        specs = document["spec"]["tfReplicaSpecs"]
        del specs["PS"]
        specs[role] = specs.pop("Worker") | {"replicas": 1, "restartPolicy": "Never"}

    imported = import_tfjob(tfjob(change))
    job = submit(imported)
    assert (job.type, job.max_retries, list(imported.commands)) == ("single", 0, ["worker"])


def test_a_command_is_needed_unless_code_is_given() -> None:
    def change(document) -> None:
        for role in ("PS", "Worker"):
            del container(document, role)["command"]

    assert len(faults(change)) == 2
    imported = import_tfjob(tfjob(change), own_code=True)
    assert imported.body["args"] == ["--steps=100"]
    assert imported.commands == {}


def test_a_program_that_no_folder_brings_is_noted_with_both_ways_out() -> None:
    def change(document) -> None:
        container(document)["command"] = ["python", "train.py"]

    def notes(imported: Imported) -> list[str]:
        return [note for note in imported.notes if "train.py" in note]

    (note,) = notes(import_tfjob(tfjob(change)))
    assert "workingDir" in note
    assert "tshell submit FOLDER -f FILE" in note
    assert notes(import_tfjob(tfjob(change), own_code=True)) == []


def test_each_role_keeps_the_image_it_asked_for() -> None:
    def change(document) -> None:
        container(document)["image"] = "example.org/digits:gpu"

    job = submit(import_tfjob(tfjob(change)))
    assert (job.image_of("ps"), job.image_of("worker")) == (
        "example.org/digits:1",
        "example.org/digits:gpu",
    )


def test_args_that_begin_with_a_program_are_the_command() -> None:
    def change(document) -> None:
        document["metadata"] = {"generateName": "tfjob-"}
        for role in ("PS", "Worker"):
            del container(document, role)["command"]
            container(document, role)["args"] = ["/usr/bin/python3.11", "train.py"]
            container(document, role)["workingDir"] = "/opt"

    imported = import_tfjob(tfjob(change))
    argv = ["/usr/bin/python3.11", "train.py"]
    expected = {"argv": argv, "env": [("STEPS", "100")], "cwd": "/opt"}
    assert (imported.commands["ps"], imported.body["name"]) == (expected, "tfjob")


def test_the_tfjob_of_the_documentation_can_be_imported() -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "run-a-job.md").read_text()
    example = text.split("## Bring a TFJob")[1].split("```yaml\n")[1].split("```")[0]
    assert submit(import_tfjob(example.encode())).roles() == {"ps": 1, "worker": 2}


def run_imported(commands, folder: Path, role: str = "worker", **variables: str):
    """The text that a container of this role prints: its arguments and some variables, as JSON."""
    write(commands, folder)
    environment = {"TF_CONFIG": json.dumps({"task": {"type": role}})} | variables
    main = [sys.executable, str(folder / "code" / "main.py")]
    ran = subprocess.run(main, env=environment, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"


def test_the_package_becomes_the_containers_command(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SHOW, "$(OWN)", "$$(OWN)", "$(NONE)", "$(BAROGRAPH_MODEL_DIR)"]
    commands = {"ps": {"argv": argv, "env": [("OWN", "b-x")], "cwd": str(tmp_path)}}
    told = run_imported(commands, tmp_path / "p", "ps", BAROGRAPH_MODEL_DIR="/m")
    assert told[0] == ["b-x", "$(OWN)", "$(NONE)", "/m"]
    assert (told[1]["OWN"], told[2]) == ("b-x", str(tmp_path))


REFERENCES = (
    ("ZONE", "eu1", "eu1"),
    ("BUCKET", "store-$(ZONE)", "store-eu1"),
    ("LITERAL", "$$(ZONE)", "$(ZONE)"),
    ("A_LATER_ONE", "$(BUCKET)/$(LATER)", "store-eu1/$(LATER)"),
    ("LATER", "x", "x"),
    ("DOLLARS", "$$$(ZONE) $$$$ $5 $", "$eu1 $$ $5 $"),
    ("OPEN", "$(ZONE", "$(ZONE"),
    ("OF_THE_IMAGE", "$(IMAGE_VARIABLE)", "$(IMAGE_VARIABLE)"),
    ("ZONE", "us2", "us2"),
    ("ONCE", "$(LITERAL)", "$(ZONE)"),
)
"""Name, value as written, value as Kubernetes gives it to the container."""


@pytest.mark.parametrize("roles", [("Worker",), ("Chief", "Worker"), ("Chief", "Worker", "PS")])
def test_references_are_expanded_in_the_files_order_as_kubernetes_does(
    roles: tuple[str, ...], tmp_path: Path
) -> None:
    def change(document) -> None:
        specs = document["spec"]["tfReplicaSpecs"]
        pod = specs["Worker"]
        container(document)["env"] = [{"name": n, "value": v} for n, v, _ in REFERENCES]
        container(document)["command"] = [sys.executable, "-c", SHOW]
        container(document)["args"] = ["--out=$(BUCKET)/run", "$(LITERAL)", "$(MODE)"]
        specs.clear()
        for role in roles:
            specs[role] = copy.deepcopy(pod) | {"replicas": 1}
            env = container(document, role)["env"]
            env.append({"name": "MODE", "value": f"$(ZONE)-{role}"})

    commands = import_tfjob(tfjob(change)).commands
    for role in roles:
        told = run_imported(commands, tmp_path / role, role.lower(), IMAGE_VARIABLE="set")
        assert told[0] == ["--out=store-eu1/run", "$(ZONE)", f"us2-{role}"]
        wanted = {name: value for name, _, value in REFERENCES}
        assert {name: told[1][name] for name in wanted} == wanted


POD_NAME = {"fieldRef": {"fieldPath": "metadata.name"}}


def test_references_are_expanded_for_a_folder_of_ones_own() -> None:
    def change(document) -> None:
        for role in ("PS", "Worker"):
            env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
            container(document, role)["env"] = env
            container(document, role)["args"] = ["$(B)", "$$(B)"]

    body = import_tfjob(tfjob(change), own_code=True).body
    assert (body["env"], body["args"]) == ({"A": "1", "B": "12"}, ["12", "$(B)"])


@pytest.mark.parametrize(
    ("env", "args", "named"),
    [
        ([{"name": "POD", "valueFrom": POD_NAME}], ["--id=$(POD)"], ["POD"]),
        ([{"name": "POD", "valueFrom": POD_NAME}, {"name": "A", "value": "$(POD)"}], [], ["POD"]),
        (
            [],
            ["--out=$(BAROGRAPH_OUTPUT_DIR)", "$(TF_CONFIG)"],
            ["BAROGRAPH_OUTPUT_DIR", "TF_CONFIG"],
        ),
        ([{"name": "A", "value": "$(OF_A_SECRET)"}], [], ["OF_A_SECRET"]),
    ],
)
def test_a_reference_that_only_the_pod_could_expand_is_named_for_a_folder_of_ones_own(
    env: list, args: list, named: list
) -> None:
    def change(document) -> None:
        del document["spec"]["tfReplicaSpecs"]["PS"]
        container(document).update(env=env, args=args)
        if named == ["OF_A_SECRET"]:
            container(document)["envFrom"] = [{"secretRef": {"name": "s"}}]

    with pytest.raises(NotImportableError) as refused:
        import_tfjob(tfjob(change), own_code=True)
    assert refused.value.can_go_without
    for name, fault in zip(named, refused.value.faults, strict=True):
        assert f"refers to $({name}), whose value only the pod knows" in fault
    assert import_tfjob(tfjob(change), own_code=True, force=True).body["args"] == args


def test_what_a_program_does_with_a_pipe_is_what_it_does_in_its_image(tmp_path: Path) -> None:
    line = "yes | head -n 1; grep SigIgn /proc/self/status"
    write({"worker": {"argv": ["sh", "-c", line], "env": [], "cwd": ""}}, tmp_path)
    main = [sys.executable, str(tmp_path / "code/main.py")]
    ran = subprocess.run(main, capture_output=True, text=True, check=True)
    said, name, ignored = ran.stdout.split()
    assert (said, name, settable(ignored)) == ("y", "SigIgn:", 0)
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cd", "/x", "&&", "python3", "/x/a.py"], "'&&' is an argument here"),
        (["python3", "/a.py", "|", "tee", "log"], "'|' is an argument here"),
        (["python3", "/a.py", ">", "/dev/null", "2>&1"], "'2>&1' is an argument here"),
        (["python3", "/a.py", "$HOME"], "'$HOME' stays as it is"),
        (["python3", "/a.py", "--out=${DATA_DIR}/x"], "'--out=${DATA_DIR}/x' stays as it is"),
        (["sh", "-c", "set -e\r\npython3 /a.py\r\n"], "Windows' line ends"),
        (["sh", "-c", "cd /x && python3 a.py | tee $HOME/log"], ""),
        (["python3", "/a.py", "--out=$(DATA_DIR)", "a|b", "$5", "--re=^a$"], ""),
    ],
)
def test_words_that_only_a_shell_reads_are_noted(words: list[str], said: str) -> None:
    notes = import_tfjob(tfjob(lambda d: container(d).update(command=words, args=[]))).notes
    found = [note for note in notes if "argument here" in note or "stays" in note or "CRLF" in note]
    assert any(said in note for note in found) if said else found == []


@pytest.mark.parametrize(
    ("where", "written"),
    [
        ("pod", {"serviceAccountName": "default", "serviceAccount": "default"}),
        ("pod", {"preemptionPolicy": "PreemptLowerPriority", "priority": 0, "hostUsers": True}),
        ("pod", {"os": {"name": "linux"}, "hostPID": False, "hostIPC": False, "nodeName": ""}),
        (
            "container",
            {
                "resizePolicy": [
                    {"resourceName": n, "restartPolicy": "NotRequired"} for n in ("cpu", "memory")
                ]
            },
        ),
        ("mount", {"mountPropagation": "None", "recursiveReadOnly": "Disabled", "readOnly": False}),
        ("security", {"procMount": "Default", "privileged": False}),
    ],
)
def test_a_default_that_is_written_out_asks_for_nothing(where: str, written: dict) -> None:
    mount = {"name": "v", "mountPath": "/v"}

    def change(document, more) -> None:
        pod = document["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
        pod["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
        container(document)["volumeMounts"] = [mount | (more if where == "mount" else {})]
        if where == "security":
            container(document)["securityContext"] = more
        elif where != "mount":
            {"pod": pod, "container": container(document)}[where].update(more)

    plain = import_tfjob(tfjob(lambda d: change(d, {})))
    assert import_tfjob(tfjob(lambda d: change(d, written))).body == plain.body


NEEDED = {
    "a relative working directory": lambda d: container(d).update(workingDir="src"),
    "no command": lambda d: container(d).pop("command"),
    "a command that is no list": lambda d: container(d).update(command="python3 x.py"),
    "an empty word": lambda d: container(d).update(command=[""], args=[]),
    "no container named tensorflow": lambda d: container(d).update(name="main"),
    "replicas in words": lambda d: d["spec"]["tfReplicaSpecs"]["Worker"].update(replicas="2"),
    "replicas below 0": lambda d: d["spec"]["tfReplicaSpecs"]["Worker"].update(replicas=-1),
    "no replicas": lambda d: [r.update(replicas=0) for r in d["spec"]["tfReplicaSpecs"].values()],
    "half a GPU": lambda d: container(d)["resources"]["limits"].update({"nvidia.com/gpu": "0.5"}),
    "no quantity": lambda d: container(d)["resources"]["limits"].update(memory="4GB"),
    "a value that is no text": lambda d: container(d)["env"][0].update(value=1),
    "another kind": lambda d: d.update(kind="PyTorchJob"),
}


@pytest.mark.parametrize("what", NEEDED)
def test_what_is_needed_and_absent_or_wrong_cannot_be_forced(what: str) -> None:
    with pytest.raises(NotImportableError) as refused:
        import_tfjob(tfjob(NEEDED[what]), force=True)
    assert not refused.value.can_go_without


RESERVED = ("TF_CONFIG", "PATH", "HOME", "LD_PRELOAD", "BAROGRAPH_MODEL_DIR")


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("roles_differ", [False, True])
def test_a_variable_of_the_platforms_is_refused_at_import_however_roles_differ(
    name: str, roles_differ: bool
) -> None:
    def change(document) -> None:
        for role in ("PS", "Worker"):
            container(document, role)["env"].append({"name": name, "value": "x"})
        if roles_differ:
            container(document)["env"].append({"name": "MODE", "value": "w"})

    assert [name in fault for fault in faults(change)] == [True, True]
    forced = import_tfjob(tfjob(change), force=True)
    assert name not in dict(forced.commands["worker"]["env"])


EMPTY = {
    "volumes": [],
    "tolerations": [],
    "imagePullSecrets": [],
    "affinity": {"nodeAffinity": {}},
    "securityContext": {"runAsUser": None},
    "initContainers": None,
    "serviceAccountName": "",
    "automountServiceAccountToken": False,
    "hostPID": False,
    "overhead": {},
}


def test_fields_that_are_empty_ask_for_nothing() -> None:
    def change(document) -> None:
        document["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"] |= EMPTY
        container(document).update(volumeMounts=[], securityContext={}, envFrom=None, ports=None)

    assert submit(import_tfjob(tfjob(change))).roles() == {"ps": 2, "worker": 3}


def test_json_is_read_as_kubectl_prints_it() -> None:
    document = yaml.safe_load(PS_JOB) | {"status": {"conditions": []}}
    for data in (
        json.dumps(document).encode(),
        json.dumps(document, indent="\t").encode(),
        json.dumps(document).encode("utf-16"),
    ):
        assert submit(import_tfjob(data)).roles() == {"ps": 2, "worker": 3}


def test_a_command_that_is_not_there_ends_as_a_shell_would_say(tmp_path: Path) -> None:
    write({"worker": {"argv": ["/nowhere"], "env": [], "cwd": ""}}, tmp_path / "package")
    main = tmp_path / "package" / "code" / "main.py"
    ran = subprocess.run([sys.executable, str(main)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (127, "/nowhere: No such file or directory\n")


@given(st.integers(2**20, 2**30), st.sampled_from(["Ki", "Mi", "Gi", "k", "M", "G", ""]))
def test_memory_keeps_its_number_of_bytes(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert amount(memory(text)) == amount(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("500u", "0.0005"), ("1e3", "1000"), ("1E", 10**18), ("1.5Gi", 3 * 2**29), ("2E-1", "0.2")],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "-1", "1e999999999", "9" * 60, "1KB", "0x1", "1 Gi", "Gi", True]
)
def test_what_is_no_quantity_or_beyond_counting_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"quantity|count"):
        amount(text)


@pytest.mark.parametrize("version", ["v1alpha2", "v1beta1", "v1beta2", "v1"])
def test_files_of_early_versions_have_their_run_policy_in_the_spec(version: str) -> None:
    document = yaml.safe_load(PS_JOB)
    wanted = import_tfjob(PS_JOB).body
    document["apiVersion"] = f"kubeflow.org/{version}"
    policy = document["spec"].pop("runPolicy")
    document["spec"] |= {name: policy.pop(name) for name in [*policy] if name in _EARLY_POLICY}
    document["spec"]["runPolicy"] = policy
    imported = import_tfjob(yaml.safe_dump(document).encode())
    assert imported.body == wanted
    assert any(
        "spec.backoffLimit: read as spec.runPolicy.backoffLimit" in n for n in imported.notes
    )
    document["spec"]["runPolicy"] = {"backoffLimit": 9}
    with pytest.raises(NotImportableError, match=r"spec\.backoffLimit: is in runPolicy as well"):
        import_tfjob(yaml.safe_dump(document).encode())


def test_a_gang_of_another_scheduler_is_one_here_without_its_sum_of_resources() -> None:
    document = yaml.safe_load(PS_JOB)
    gang = {"minAvailable": 5, "minResources": {"cpu": "5", "nvidia.com/gpu": 3}}
    document["spec"]["runPolicy"]["schedulingPolicy"] = gang
    imported = import_tfjob(yaml.safe_dump(document).encode())
    assert any("minResources: left out: a whole cluster is admitted" in n for n in imported.notes)
