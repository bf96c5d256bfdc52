"""The chart as a release with its quickstart, and what a test asks of it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from shared.embedded.patience import Patience
from tests.cluster.images import SERVICES
from tests.cluster.kube import Kube
from tests.cluster.node.pod_states import state_of_pods
from tests.waiting import eventually

NAME = NAMESPACE = "barograph"
JOBS = f"{NAMESPACE}-jobs"
PROJECT, PROJECT_JOBS = "vision", f"{NAMESPACE}-vision"
"""A project whose jobs have a namespace of their own."""
_CHART = Path(__file__).parents[3] / "charts/barograph"
_STATEFUL = {"detector", "predictor", "rabbitmq", "postgresql", "seaweedfs"}
_JOB_ID = "barograph.io/job-id"
_JOB_FILE = "job.json"
_HELM_S = 1200
"""Helm's own limit of five minutes is short where six services start anew on two busy cores."""
_ANSWERED_S, _ATTEMPT_S = 240, 120
_ENDS = {"succeeded", "failed", "cancelled"}
_NOT_YET = client.V1ContainerStatus(name="", image="", image_id="", ready=False, restart_count=0)


@dataclass
class Release:
    """``helm install`` and what follows, in a namespace of its own."""

    kube: Kube
    images_are_ours: bool
    values: Mapping[str, Any]
    namespace: str = NAMESPACE
    installed: bool = False

    @property
    def jobs_namespace(self) -> str:
        """Return where jobs run whose project has none of its own."""
        return f"{self.namespace}-jobs"

    def ensure_installed(self) -> None:
        """Install it unless it is."""
        if not self.installed:
            self.helm("install", "--create-namespace", "--wait", chart=True)
            self.installed = True

    def upgrade(self, **values: str) -> None:
        settings = [f"--set={key}={value}" for key, value in values.items()]
        try:
            self.helm("upgrade", "--wait", *settings, chart=True)
        except AssertionError:
            # Helm was ended in its midst, perhaps: the next story must not find the release locked.
            self.helm("rollback", "--no-hooks")
            raise

    def uninstall(self) -> str:
        self.installed = False
        return self.helm("uninstall", "--wait")

    def test(self) -> str:
        return self.helm("test", "--logs")

    def helm(self, command: str, *options: str, chart: bool = False) -> str:
        """Run helm on this release; its output, or an AssertionError with what the pods say."""
        arguments = [command, NAME, f"--namespace={self.namespace}", f"--timeout={_HELM_S}s"]
        if chart:
            arguments += [str(_CHART), "--values", str(self._values())]
        try:
            return self.kube.run("helm", *arguments, *options, timeout_s=_HELM_S + 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state_of_pods()}") from error

    def remove(self) -> None:
        """All its namespaces, whatever state they are in."""
        if self.installed:
            self.uninstall()
        projects = self.values["jobs"].get("projects", {}).values()
        namespaces = [
            self.namespace,
            self.jobs_namespace,
            *(each["namespace"] for each in projects),
        ]
        self.kube.kubectl("delete", "namespace", *namespaces, "--ignore-not-found")
        if self.values.get("tfjob", {}).get("installCRD"):
            self.kube.kubectl("delete", "crd", "tfjobs.kubeflow.org", "--ignore-not-found")

    def _values(self) -> Path:
        path = self.kube.state / f"{self.namespace}-values.yaml"
        path.write_text(yaml.safe_dump(self.values))
        return path

    # The running platform

    def state_of_pods(self) -> str:
        """For a person: what each pod is at."""
        return state_of_pods(self.kube, self.namespace, self.jobs_namespace, PROJECT_JOBS)

    def ready_services(self) -> set[str]:
        """Services whose every replica is ready."""
        found = self.kube.get("deployments,statefulsets", "-n", self.namespace)["items"]
        names = {
            each["metadata"]["labels"]["app.kubernetes.io/component"]
            for each in found
            if each["status"].get("readyReplicas") == each["spec"]["replicas"]
        }
        return names & set(SERVICES)

    def wait_until_settled(self) -> None:
        """Return when every pod of the chart is ready and none is going."""

        def settled() -> bool:
            pods = self.kube.core.list_namespaced_pod(self.namespace).items
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

    def exec(
        self,
        component: str,
        command: Sequence[str],
        stdin: str | None = None,
        timeout_s: float = 600,
    ) -> str:
        """Output of a command in a component's pod."""
        kind = "statefulset" if component in _STATEFUL else "deployment"
        target = f"{kind}/{NAME}-{component}"
        return self.kube.kubectl(
            "exec",
            "-i",
            "-n",
            self.namespace,
            target,
            "--",
            *command,
            stdin=stdin,
            timeout_s=timeout_s,
        )

    def tshell(self, *arguments: str) -> str:
        """The client's own tshell, as the documentation has it."""
        return self._in_client(["tshell", *arguments])

    def _in_client(self, command: Sequence[str], stdin: str | None = None) -> str:
        """Output of a command in the client's pod that may be repeated, and is until it succeeds.

        The pod it runs in may be replaced meanwhile, and of the end of such a command nobody
        hears; or a busy service gives no answer in time.
        """
        patience = Patience(_ANSWERED_S)
        while True:
            try:
                return self.exec("client", command, stdin, timeout_s=_ATTEMPT_S)
            except AssertionError:
                if patience.is_over():
                    raise
            time.sleep(1)

    def submit(self, folder: Path, *options: str) -> str:
        """Submit a folder with `code/main.py`, as the documentation has it; the job's id."""
        job = f"{folder.name}-{secrets.token_hex(4)}"
        sent = [folder.name, *([_JOB_FILE] if _JOB_FILE in options else [])]
        packed = subprocess.run(
            ["tar", "-C", str(folder.parent), "-cf", "-", *sent],
            capture_output=True,
            check=True,
        ).stdout
        script = 'cd "$(mktemp -d)" && base64 -d | tar -xf - && exec tshell submit "$0" "$@"'
        # With an id, the same job again is the same job.
        command = ["sh", "-c", script, folder.name, "--id", job, *options]
        self._in_client(command, base64.b64encode(packed).decode())
        return job

    def submit_program(
        self,
        text: str,
        *options: str,
        memory: str = "256Mi",
        job_file: Mapping[str, Any] | None = None,
    ) -> str:
        """Submit a program of one file; ``job_file``: further fields of the job, as -f has them."""
        with tempfile.TemporaryDirectory() as directory:
            code = Path(directory, "program", "code")
            code.mkdir(parents=True)
            (code / "main.py").write_text(text)
            if job_file is not None:
                (Path(directory) / _JOB_FILE).write_text(json.dumps(job_file))
                options = (*options, "-f", _JOB_FILE)
            options = ("-m", memory, "-c", "0.1", *options)
            return self.submit(code.parent, *options)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return what is known of a job."""
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

    def end_jobs(self) -> None:
        """Cancel what a failed test has left: it would take the room of the next jobs."""
        left = {
            (pod.metadata.annotations or {}).get(_JOB_ID)
            for namespace in (self.jobs_namespace, PROJECT_JOBS)
            for pod in self.kube.core.list_namespaced_pod(namespace).items
        }
        for each in self.jobs() if left else []:
            if each["job_id"] in left and each["state"] not in _ENDS:
                self.tshell("cancel", each["job_id"])
                self.wait_for_end(each["job_id"])

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

    def job_pods(self, job_id: str, namespace: str = "") -> list[Any]:
        """The job's pods, as they are."""
        pods = self.kube.core.list_namespaced_pod(namespace or self.jobs_namespace).items
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
        return {
            pod.metadata.uid for pod in self.kube.core.list_namespaced_pod(self.namespace).items
        }

    def pod_names(self) -> set[str]:
        return {
            pod.metadata.name for pod in self.kube.core.list_namespaced_pod(self.namespace).items
        }

    def pods_of(self, component: str) -> set[str]:
        return {pod.metadata.uid for pod in self.pods_of_component(component)}

    def kill_one_of(self, component: str) -> None:
        """Delete one of a component's pods without the time to end in order."""
        pods = self.pods_of_component(component)
        live = [p.metadata.name for p in pods if p.metadata.deletion_timestamp is None]
        self.kube.core.delete_namespaced_pod(live[0], self.namespace, grace_period_seconds=0)

    def pods_of_component(self, component: str) -> list[Any]:
        """A component's pods, as they are."""
        selector = f"app.kubernetes.io/component={component}"
        found = self.kube.core.list_namespaced_pod(self.namespace, label_selector=selector)
        return list(found.items)

    def host_of(self, component: str) -> str:
        return f"{NAME}-{component}.{self.namespace}.svc"

    @property
    def enforces_policies(self) -> bool:
        """True if the cluster's network keeps policies: ours does, of another we are told."""
        return self.images_are_ours or os.environ.get("BAROGRAPH_TEST_ENFORCES_POLICIES") == "1"
