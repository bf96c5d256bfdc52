"""TFJobs on a real API server, as kubectl and those who wait for them see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.chart.rendering import Manifest, render
from tests.cluster.kube import Kube
from tests.waiting import eventually


@contextmanager
def the_kind(kube: Kube) -> Iterator[None]:
    """The chart's own kind TFJob, for as long as the block lasts."""
    values = {"tfjob": {"enabled": True, "installCRD": True}}
    (kind,) = (each for each in render(values=values) if each["kind"].startswith("CustomResource"))
    kube.apply(kind)
    name = f"crd/{kind['metadata']['name']}"
    kube.kubectl("wait", "--for=condition=Established", name, "--timeout=60s")
    yield
    kube.kubectl("delete", name, "--ignore-not-found")


def replica(number: int, image: str = "program:test", **container: Any) -> Manifest:
    ours = {"name": "tensorflow", "image": image, "command": ["python3", "/train.py"]}
    ours["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    return {"replicas": number, "template": {"spec": {"containers": [ours | container]}}}


class TFJobs:
    """The TFJobs of one namespace."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.kube, self.namespace = kube, namespace

    def apply(self, name: str, specs: Manifest, **run_policy: Any) -> None:
        self.kube.apply(
            {
                "apiVersion": "kubeflow.org/v1",
                "kind": "TFJob",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"tfReplicaSpecs": specs, "runPolicy": run_policy},
            }
        )

    def get(self, name: str) -> Manifest:
        found: Manifest = self.kube.get("tfjob", name, "-n", self.namespace)
        return found

    def job_id(self, name: str) -> str:
        """The id of the first job of a TFJob."""
        return f"{name}-{self.get(name)['metadata']['uid']}"

    def status(self, name: str) -> Manifest:
        return dict(self.get(name).get("status") or {})

    def condition(self, name: str, kind: str) -> Manifest:
        """A condition; empty when there is none of the type."""
        found = self.status(name).get("conditions", [])
        return next((each for each in found if each["type"] == kind), {})

    def wait(self, name: str, kind: str, timeout_s: float = 120) -> Manifest:
        """As `kubectl wait --for=condition=…` does, with what was found when it was in vain."""
        try:
            eventually(
                lambda: self.condition(name, kind).get("status") == "True",
                f"the condition {kind} of {name}",
                timeout_s,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status(name)}") from error
        return self.condition(name, kind)

    def delete(self, name: str) -> None:
        self.kube.kubectl("delete", "tfjob", name, "-n", self.namespace, "--timeout=60s")

    def names(self) -> list[str]:
        found = self.kube.get("tfjobs", "-n", self.namespace)["items"]
        return [each["metadata"]["name"] for each in found]

    def reasons(self, name: str) -> set[str]:
        """The reasons of the events about it."""
        selector = f"--field-selector=involvedObject.kind=TFJob,involvedObject.name={name}"
        found = self.kube.get("events", "-n", self.namespace, selector)["items"]
        return {each["reason"] for each in found}
