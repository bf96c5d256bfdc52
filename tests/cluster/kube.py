"""What a test has in its hands: a Kubernetes cluster, ours or one that somebody named."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from tests.cluster.authority import write_kubeconfig
from tests.cluster.plane import ControlPlane

_PROGRAM_S = 600.0
"""A program that has not ended after this time waits for something that does not come."""


@dataclass
class Kube:
    """A running cluster; ``plane`` only when it is our own."""

    kubeconfig: Path
    """The administrator's."""
    state: Path
    plane: ControlPlane | None = None
    namespaces: list[str] = field(default_factory=list)

    @functools.cached_property
    def api(self) -> Any:
        """A client of the administrator, for any of ``kubernetes.client``'s APIs."""
        return _client(self.kubeconfig)

    @property
    def core(self) -> Any:
        """The core API; untyped, for its models make every field optional."""
        return client.CoreV1Api(self.api)

    @property
    def batch(self) -> Any:
        return client.BatchV1Api(self.api)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = _PROGRAM_S
    ) -> str:
        """Run kubectl as the administrator; its output. A failure is an AssertionError."""
        return self.run("kubectl", *arguments, stdin=stdin, timeout_s=timeout_s)

    def run(
        self,
        program: str,
        *arguments: str,
        stdin: str | None = None,
        timeout_s: float = _PROGRAM_S,
    ) -> str:
        """Run a program with this cluster as its KUBECONFIG (``helm`` and the like).

        Raises:
            AssertionError: the program failed, or did not end within ``timeout_s``.
        """
        try:
            done = subprocess.run(
                [program, *arguments],
                env=dict(os.environ) | {"KUBECONFIG": str(self.kubeconfig)},
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{program} {' '.join(arguments)}: {error}") from error
        assert done.returncode == 0, f"{program} {' '.join(arguments)}:\n{done.stderr}"
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Server-side apply of any objects, whole (defaults and unknown fields checked)."""
        text = yaml.safe_dump_all(manifests)
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)

    def get(self, *what: str) -> Any:
        """``kubectl get … -o json``."""
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def new_namespace(self, labels: dict[str, str] | None = None) -> str:
        """An empty namespace; removed with all that is in it after the test."""
        name = f"t-{secrets.token_hex(4)}"
        self.core.create_namespace({"metadata": {"name": name, "labels": labels or {}}})
        self.namespaces.append(name)
        return name

    def remove_namespaces(self, names: Iterable[str]) -> None:
        """Delete namespaces without waiting for it."""
        for name in names:
            self.core.delete_namespace(name)
            self.namespaces.remove(name)

    def service_account_kubeconfig(self, namespace: str, account: str) -> Path:
        """A kubeconfig with a token of an existing service account, valid for a day."""
        made = self.core.create_namespaced_service_account_token(
            account, namespace, {"spec": {"expirationSeconds": 86_400}}
        )
        cluster = yaml.safe_load(self.kubectl("config", "view", "--raw", "--minify", "-o", "yaml"))
        entry = cluster["clusters"][0]["cluster"]
        path = self.state / f"{namespace}-{account}.kubeconfig"
        write_kubeconfig(path, entry["server"], Path("unused"), token=made.status.token)
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"] = entry
        path.write_text(yaml.safe_dump(document))
        return path

    def client_for(self, kubeconfig: Path) -> Any:
        return _client(kubeconfig)

    # The API server's outages

    def stop_api(self) -> None:
        """Stop the API server; only where the cluster is our own."""
        self._own().stop_api()

    def start_api(self) -> None:
        """Start it again; returns when it is ready."""
        self._own().start_api()

    def _own(self) -> ControlPlane:
        if self.plane is None:
            pytest.skip(
                "this test stops the API server, which it does only to a cluster of its own"
            )
        return self.plane


def _client(kubeconfig: Path) -> Any:
    return config.new_client_from_config(str(kubeconfig))
