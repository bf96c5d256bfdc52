"""The chart as a release with its quickstart, and what a test asks of it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.cluster.images import REGISTRY, SERVICES, TAG, image
from tests.cluster.kube import Kube
from tests.waiting import eventually

NAME = NAMESPACE = "barograph"
JOBS = f"{NAMESPACE}-jobs"
EXTERNAL_VALUES = "BAROGRAPH_TEST_VALUES"
_CHART = Path(__file__).parents[3] / "charts/barograph"
_JOB_ID = "barograph.io/job-id"
_ENDS = {"succeeded", "failed", "cancelled"}
_NOT_YET = client.V1ContainerStatus(name="", image="", image_id="", ready=False, restart_count=0)
_SERVERS = {"rabbitmq": 999, "postgresql": 999, "seaweedfs": 1000}


@dataclass
class Release:
    """``helm install`` and what follows, in a namespace of its own."""

    kube: Kube
    images_are_ours: bool
    installed: bool = False

    # Helm

    def ensure_installed(self) -> None:
        """Install it unless it is."""
        if not self.installed:
            self.helm("install", "--create-namespace", "--wait", "--timeout", "9m", chart=True)
            self.installed = True

    def upgrade(self, **values: str) -> None:
        settings = [f"--set={key}={value}" for key, value in values.items()]
        self.helm("upgrade", "--wait", "--timeout", "9m", *settings, chart=True)

    def uninstall(self) -> str:
        self.installed = False
        return self.helm("uninstall", "--wait", "--timeout", "9m")

    def test(self) -> str:
        return self.helm("test", "--logs", "--timeout", "9m")

    def helm(self, command: str, *options: str, chart: bool = False) -> str:
        """Run helm on this release; its output, or an AssertionError with what the pods say."""
        arguments = [command, NAME, *([str(_CHART)] if chart else []), f"--namespace={NAMESPACE}"]
        if chart:
            arguments += ["--values", str(self._values())]
        try:
            return self.kube.run("helm", *arguments, *options)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{error}\n{self.state_of_pods()}") from error

    def remove(self) -> None:
        """Both namespaces, whatever state they are in."""
        if self.installed:
            self.uninstall()
        self.kube.kubectl("delete", "namespace", NAMESPACE, JOBS, "--ignore-not-found")
        if self.images_are_ours:
            self.kube.kubectl("delete", "crd", "tfjobs.kubeflow.org", "--ignore-not-found")

    def _values(self) -> Path:
        values: dict[str, Any] = {"quickstart": {"enabled": True}, "tfjob": {"enabled": True}}
        if self.images_are_ours:
            values["tfjob"]["installCRD"] = True
            values |= {
                "image": {"registry": REGISTRY, "tag": TAG, "pullPolicy": "Never"},
                "jobs": {"programImage": image("program"), "imagePullPolicy": "Never"},
            }
            for name, user in _SERVERS.items():
                values["quickstart"][name] = {"image": image("servers"), "user": user}
        elif os.environ.get(EXTERNAL_VALUES):
            values |= yaml.safe_load(Path(os.environ[EXTERNAL_VALUES]).read_text())
        path = self.kube.state / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    # The running platform

    def state_of_pods(self) -> str:
        """For a person: what each pod is at, and the last lines of those that are not ready."""
        text = ""
        for namespace in (NAMESPACE, JOBS):
            pods = self.kube.core.list_namespaced_pod(namespace).items
            for pod in pods:
                for status in _containers(pod):
                    text += f"{namespace} {pod.metadata.name} {status.name}: "
                    text += f"ready={status.ready} {_state(status)}\n"
                    if not status.ready:
                        text += self._last_lines(namespace, pod.metadata.name, status.name)
        events = self.kube.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
        return f"{text}\n{events[-3000:]}"

    def _last_lines(self, namespace: str, pod: str, container: str) -> str:
        try:
            return self.kube.kubectl(
                "logs", pod, "-c", container, "-n", namespace, "--tail=15", "--all-containers=false"
            )
        except AssertionError as error:
            return f"{error}\n"

    def ready_services(self) -> set[str]:
        """Services whose every replica is ready."""
        found = self.kube.get("deployments,statefulsets", "-n", NAMESPACE)["items"]
        names = {
            each["metadata"]["labels"]["app.kubernetes.io/component"]
            for each in found
            if each["status"].get("readyReplicas") == each["spec"]["replicas"]
        }
        return names & set(SERVICES)

    def wait_until_settled(self) -> None:
        """Return when every pod of the chart is ready and none is going."""

        def settled() -> bool:
            pods = self.kube.core.list_namespaced_pod(NAMESPACE).items
            # The pods of hooks have ended.
            live = [pod for pod in pods if pod.status.phase != "Succeeded"]
            return self.ready_services() == set(SERVICES) and all(
                status.ready and not pod.metadata.deletion_timestamp
                for pod in live
                for status in pod.status.container_statuses or [_NOT_YET]
            )

        try:
            eventually(settled, "the installation to settle", 600)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state_of_pods()}") from error

    def exec(self, component: str, command: Sequence[str], stdin: str | None = None) -> str:
        """Output of a command in a component's pod."""
        kind = "statefulset" if component in {"detector", "predictor", "rabbitmq"} else "deployment"
        target = f"{kind}/{NAME}-{component}"
        return self.kube.kubectl("exec", "-i", "-n", NAMESPACE, target, "--", *command, stdin=stdin)

    def tshell(self, *arguments: str) -> str:
        """The client's own tshell, as the documentation has it."""
        return self.exec("client", ["tshell", *arguments])

    # Jobs

    def submit(self, folder: Path, *options: str, again_s: float = 0) -> str:
        """Hand in a folder with `code/main.py`, as the documentation has it; the job's id.

        Args:
            folder: what is handed in.
            options: of `tshell submit`.
            again_s: seconds in which a refused or broken attempt is repeated, as a user would.
        """
        job = f"{folder.name}-{secrets.token_hex(4)}"
        deadline = time.monotonic() + again_s
        while not self._hand_in(folder, job, options, fails=time.monotonic() > deadline):
            time.sleep(0.5)
        return job

    def submit_program(self, text: str, memory: str = "256Mi", again_s: float = 0) -> str:
        """Hand in a program of one file."""
        with tempfile.TemporaryDirectory() as directory:
            code = Path(directory, "program", "code")
            code.mkdir(parents=True)
            (code / "main.py").write_text(text)
            return self.submit(code.parent, "-m", memory, "-c", "0.1", again_s=again_s)

    def _hand_in(self, folder: Path, job: str, options: Sequence[str], *, fails: bool) -> bool:
        """Whether it was handed in; repeating it is harmless, for it has an id."""
        packed = subprocess.run(
            ["tar", "-C", str(folder.parent), "-cf", "-", folder.name],
            capture_output=True,
            check=True,
        ).stdout
        script = 'd=$(mktemp -d) && tar -xf - -C "$d" && shift && exec tshell submit "$d/$0" "$@"'
        # The shell's $0 is the folder's name, its $1 only fills the place that `shift` empties.
        command = ["sh", "-c", script, folder.name, "-", "--id", job, *options]
        client = f"deployment/{NAME}-client"
        try:
            done = subprocess.run(
                ["kubectl", "exec", "-i", "-n", NAMESPACE, client, "--", *command],
                env=dict(os.environ) | {"KUBECONFIG": str(self.kube.kubeconfig)},
                input=packed,
                capture_output=True,
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # The pod was replaced while it ran the command, of whose end nobody hears.
            if fails:
                raise
            return False
        said = f"{done.stdout.decode()}{done.stderr.decode()}"
        assert not done.returncode or not fails, f"{job} was not handed in:\n{said}"
        return not done.returncode

    def job(self, job_id: str) -> dict[str, Any]:
        """What is known of a job."""
        found: dict[str, Any] = json.loads(self.tshell("describe", job_id, "--json"))
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs."""
        found: list[dict[str, Any]] = json.loads(self.tshell("ls", "--limit", "500", "--json"))[
            "jobs"
        ]
        return found

    def wait_for_end(self, job_id: str, timeout_s: float = 240) -> dict[str, Any]:
        """The job as it ended."""

        def ended() -> dict[str, Any] | None:
            (found,) = [each for each in self.jobs() if each["job_id"] == job_id]
            return found if found["state"] in _ENDS else None

        try:
            found = eventually(ended, f"the end of {job_id}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told(job_id)}\n{self.state_of_pods()}") from error
        assert found is not None
        return found

    def told(self, job_id: str) -> str:
        """All there is to say about a job, for a person."""
        return self.tshell("describe", job_id) + self.tshell("logs", job_id)

    def stored(self, job_id: str) -> list[str]:
        """Keys of what the job left in the object store."""
        script = (
            "import boto3,os;e=os.environ;s=boto3.client('s3',endpoint_url=e['BAROGRAPH_S3_URL'],"
            "aws_access_key_id=e['BAROGRAPH_S3_ACCESS_KEY'],region_name='us-east-1',"
            "aws_secret_access_key=e['BAROGRAPH_S3_SECRET_KEY']);"
            f"print('\\n'.join(o['Key'] for o in s.list_objects_v2(Bucket=e['BAROGRAPH_S3_BUCKET'],"
            f"Prefix='jobs/{job_id}/').get('Contents',[])))"
        )
        return self.exec("client", ["python3", "-c", script]).split()

    def job_pods(self, job_id: str) -> list[Any]:
        """The job's pods, as they are."""
        pods = self.kube.core.list_namespaced_pod(JOBS).items
        return [pod for pod in pods if (pod.metadata.annotations or {}).get(_JOB_ID) == job_id]

    def running(self, job_id: str) -> set[str]:
        """Names of the job's pods whose program runs."""
        return {
            pod.metadata.name
            for pod in self.job_pods(job_id)
            for status in pod.status.container_statuses or []
            if status.state.running is not None and not pod.metadata.deletion_timestamp
        }

    def wait_for_no_pods(self, job_id: str) -> None:
        eventually(lambda: not self.job_pods(job_id), f"the end of the pods of {job_id}", 180)

    # The chart's pods

    def pods(self) -> set[str]:
        """uids of the chart's pods."""
        return {pod.metadata.uid for pod in self.kube.core.list_namespaced_pod(NAMESPACE).items}

    def pod_names(self) -> set[str]:
        """Their names."""
        return {pod.metadata.name for pod in self.kube.core.list_namespaced_pod(NAMESPACE).items}

    def pods_of(self, component: str) -> set[str]:
        """uids of a component's pods."""
        selector = f"app.kubernetes.io/component={component}"
        pods = self.kube.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
        return {pod.metadata.uid for pod in pods}

    def host_of(self, component: str) -> str:
        return f"{NAME}-{component}.{NAMESPACE}.svc"

    @property
    def enforces_policies(self) -> bool:
        """Whether the cluster's network keeps policies: ours does, of another we are told."""
        return self.images_are_ours or os.environ.get("BAROGRAPH_TEST_ENFORCES_POLICIES") == "1"


def _containers(pod: Any) -> list[Any]:
    status = pod.status
    return [*(status.init_container_statuses or []), *(status.container_statuses or [])]


def _state(status: Any) -> str:
    for name in ("waiting", "terminated"):
        state = getattr(status.state, name)
        if state is not None:
            return f"{name}: {state.reason} {state.message or ''}"
    return "running"
