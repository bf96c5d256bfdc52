"""The task service as a process of its own, on a cluster; it can be killed at any instruction."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from shared.embedded.process import LOOPBACK, OwnedProcess, free_ports, wait_until
from shared.embedded.stackfile import is_ready
from tests.brokers import BrokerUnderTest
from tests.cluster.kube import Kube
from tests.conftest import ObjectStoreUnderTest

_READY_S = 120.0


@dataclass
class TaskProcess:
    """``python -m services.task`` with pods for members; its files under ``directory``."""

    kube: Kube
    namespace: str
    broker: BrokerUnderTest
    store: ObjectStoreUnderTest
    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    """More of the service's settings, e.g. ``{"max_active": "50"}``."""
    _process: OwnedProcess | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def database(self) -> str:
        return f"sqlite:///{self.directory}/task.db"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; returns when it is ready."""
        (self._port,) = free_ports(1)
        settings = {
            "broker_url": self.broker.url("task"),
            "member_broker_url": self.broker.url("member"),
            "member_signing_key": self.broker.signing_key,
            "store_url": self.database,
            "s3_url": self.store.url,
            "s3_access_key": self.store.access_key,
            "s3_secret_key": self.store.secret_key,
            "health_port": str(self._port),
            "state_dir": str(self.directory),
            "runtime": "kubernetes",
            "kubeconfig": str(self.kube.kubeconfig),
            "namespace": self.namespace,
            "launcher_image": "launcher:test",
            "program_image": "program:test",
            "pod_grace_s": "10",
            **self.settings,
        }
        named = {f"BAROGRAPH_TASK_{name.upper()}": value for name, value in settings.items()}
        self._process = OwnedProcess(
            [sys.executable, "-m", "services.task"],
            log=self.directory / "task.log",
            env=dict(os.environ) | named,
        )
        wait_until(self._ready, _READY_S, "the task service", alive=self._process.alive)

    def kill(self) -> None:
        """As a crash would: kill -9."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(30)

    def _ready(self) -> bool:
        return is_ready(f"http://{LOOPBACK}:{self._port}")
