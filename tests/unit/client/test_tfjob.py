"""A TFJob becomes a job of ours, and nothing of it is overlooked."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.client.tshell.tfjob import NotImportableError, import_tfjob, write
from services.client.tshell.tfjob.quantities import amount, memory
from shared.contracts import JobSubmit

PS_JOB = """
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


def tfjob(change=None) -> str:
    document: dict[str, Any] = copy.deepcopy(yaml.safe_load(PS_JOB))
    if change is not None:
        change(document)
    return yaml.safe_dump(document)


def container(document: dict[str, Any], role: str = "Worker") -> dict[str, Any]:
    return document["spec"]["tfReplicaSpecs"][role]["template"]["spec"]["containers"][0]


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
    assert (job.name, job.image, job.env) == ("digits", "example.org/digits:1", {"STEPS": "100"})
    assert (job.queue, job.priority_class, job.max_retries) == ("research", "high", 2)
    assert (job.timeouts.run_s, job.timeouts.start_s) == (3600, 120)
    ps, worker = job.resources_of("ps"), job.resources_of("worker")
    assert (ps.cpu, ps.memory, ps.gpu) == (0.5, "1024Mi", 0)
    assert (worker.cpu, worker.memory, worker.gpu, worker.gpu_model) == (4, "1536Mi", 1, "A100")
    argv = ["python3", "/opt/train.py", "--steps=$(STEPS)"]
    assert imported.commands["ps"] == imported.commands["worker"]
    assert imported.commands["ps"] == {"argv": argv, "env": {}, "cwd": ""}


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
    "volumes": ("Worker.template.spec.volumes", "data"),
    "serviceAccountName": ("Worker.template.spec.serviceAccountName", "no Kubernetes identity"),
    "tolerations": ("Worker.template.spec.tolerations", "BAROGRAPH_TASK_TOLERATIONS"),
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


def test_all_faults_are_named_at_once() -> None:
    def change(document) -> None:
        document["spec"]["enableDynamicWorker"] = True
        document["spec"]["tfReplicaSpecs"]["Launcher"] = {}
        container(document)["env"].append({"name": "KEY", "valueFrom": {"secretKeyRef": {}}})
        container(document)["resources"]["limits"]["ephemeral-storage"] = "1Gi"

    assert len(faults(change)) == 4


def test_force_goes_on_without_the_unsupported_and_says_so() -> None:
    def change(document) -> None:
        container(document)["volumeMounts"] = []

    imported = import_tfjob(tfjob(change), force=True)
    assert submit(imported).roles() == {"ps": 2, "worker": 3}
    assert any(n.startswith("left out: ") and "volumeMounts" in n for n in imported.notes)


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(NotImportableError, match="'replicas' is given twice"):
        import_tfjob(PS_JOB.replace("replicas: 3", "replicas: 3\n      replicas: 4"))


def test_yaml_can_make_no_objects() -> None:
    with pytest.raises(NotImportableError, match="not usable YAML"):
        import_tfjob("a: !!python/object/apply:os.getcwd []")


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
    assert imported.body["args"] == ["--steps=$(STEPS)"]
    assert imported.commands == {}


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
    expected = {"argv": ["/usr/bin/python3.11", "train.py"], "env": {}, "cwd": "/opt"}
    assert (imported.commands["ps"], imported.body["name"]) == (expected, "tfjob")


def test_the_tfjob_of_the_documentation_can_be_imported() -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "run-a-job.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]
    assert submit(import_tfjob(example)).roles() == {"ps": 1, "worker": 2}


def test_the_package_becomes_the_containers_command(tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv[1:], os.environ['OWN'], os.getcwd())"
    argv = [sys.executable, "-c", code, "$(OWN)", "$$(OWN)", "$(NONE)"]
    commands = {"ps": {"argv": argv, "env": {"OWN": "$(BASE)-x"}, "cwd": str(tmp_path)}}
    write(commands, tmp_path / "package")
    main = tmp_path / "package" / "code" / "main.py"
    environment = {"BASE": "b", "TF_CONFIG": json.dumps({"task": {"type": "ps"}})}
    ran = subprocess.run(
        [sys.executable, str(main)], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"['b-x', '$(OWN)', '$(NONE)'] b-x {tmp_path}\n"


def test_a_command_that_is_not_there_ends_as_a_shell_would_say(tmp_path: Path) -> None:
    write({"worker": {"argv": ["/nowhere"], "env": {}, "cwd": ""}}, tmp_path / "package")
    main = tmp_path / "package" / "code" / "main.py"
    ran = subprocess.run([sys.executable, str(main)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (127, "/nowhere: No such file or directory\n")


@given(st.integers(1, 10**6), st.sampled_from(["Ki", "Mi", "Gi", "k", "M", "G", ""]))
def test_memory_keeps_its_number_of_bytes(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    assert amount(memory(text)) == amount(text)
