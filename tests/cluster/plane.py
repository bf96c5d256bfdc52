"""A private Kubernetes control plane: etcd, API server, controller manager, scheduler.

Everything is as a cluster has it (certificates, RBAC, node authorisation, admission), but for
shorter times until a silent node counts as lost, and higher client rates, for 2-core machines.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from shared.embedded.process import LOOPBACK, EmbeddedError, OwnedProcess, wait_until
from tests.cluster.authority import Authority, Pair, write_kubeconfig
from tests.cluster.programs import PrivateNetwork

API_PORT = 6443
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
_ETCD = f"http://{LOOPBACK}:2379"
_START_TIMEOUT_S = 180.0
# A node is lost after 20 s of silence instead of 50, its pods go 5 s later instead of 300.
NODE_GRACE_S = 20
EVICTION_S = 5


@dataclass
class ControlPlane:
    """The servers under ``state``; ports are the usual ones, the network is our own."""

    state: Path
    network: PrivateNetwork
    authority: Authority = field(init=False)
    kubeconfig: Path = field(init=False)
    """The administrator's."""
    _running: dict[str, OwnedProcess] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.state = self.state.resolve()
        self.authority = Authority(self.state / "pki")
        admin = self.authority.issue("admin", "admin", ["system:masters"])
        self.kubeconfig = self.kubeconfig_for("admin", admin)
        host = self.network.address
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        self._serving = self.authority.issue(
            "apiserver", "kube-apiserver", hosts=[host, API_SERVICE, LOOPBACK, *names]
        )
        self._kubelet_client = self.authority.issue(
            "apiserver-kubelet", "kube-apiserver-kubelet-client", ["system:masters"]
        )
        self._accounts = self.authority.issue("service-accounts", "service-accounts")

    @property
    def url(self) -> str:
        return f"https://{self.network.address}:{API_PORT}"

    def kubeconfig_for(self, file: str, pair: Pair) -> Path:
        """A kubeconfig with a certificate of this cluster's authority."""
        path = self.state / f"{file}.kubeconfig"
        return write_kubeconfig(path, self.url, self.authority.own.certificate, pair=pair)

    # Life

    def start(self) -> None:
        """Start everything; returns when the API server is ready. EmbeddedError otherwise."""
        try:
            self._start("etcd", self._etcd())
            self.start_api()
            for name in ("kube-controller-manager", "kube-scheduler"):
                pair = self.authority.issue(name, f"system:{name}")
                self._start(name, self._client(name, self.kubeconfig_for(name, pair)))
        except BaseException:
            self.stop()
            raise

    def start_api(self) -> None:
        """Start the API server and wait until it is ready."""
        process = self._start("kube-apiserver", self._api_server())
        try:
            wait_until(self.api_ready, _START_TIMEOUT_S, "the API server", alive=process.alive)
        except EmbeddedError as error:
            raise EmbeddedError(f"{error}; its log ends with:\n{process.log_tail()}") from error

    def stop_api(self) -> None:
        """Stop the API server only; its clients get connection refused until ``start_api``."""
        self._running.pop("kube-apiserver").kill()

    def stop(self) -> None:
        """Kill everything: the contents die with the cluster."""
        for process in reversed(self._running.values()):
            process.kill()
        self._running.clear()

    def api_ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.own.certificate))
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", context=context, timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def alive(self) -> bool:
        return bool(self._running) and all(item.alive() for item in self._running.values())

    def _start(self, name: str, options: list[str]) -> OwnedProcess:
        command = [str(self.network.program(name)), *options]
        self._running[name] = OwnedProcess(command, log=self.state / "log" / f"{name}.log")
        return self._running[name]

    # Options

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.state / 'etcd'}",
            f"--listen-client-urls={_ETCD}",
            f"--advertise-client-urls={_ETCD}",
            f"--listen-peer-urls=http://{LOOPBACK}:2380",
            # A killed etcd loses nothing by this, only a machine that loses its power does.
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
            "--auto-compaction-retention=5m",
            "--log-level=warn",
        ]

    def _api_server(self) -> list[str]:
        authority = self.authority.own.certificate
        return [
            f"--etcd-servers={_ETCD}",
            f"--advertise-address={self.network.address}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            f"--client-ca-file={authority}",
            f"--kubelet-certificate-authority={authority}",
            f"--kubelet-client-certificate={self._kubelet_client.certificate}",
            f"--kubelet-client-key={self._kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._public_accounts_key()}",
            f"--service-account-signing-key-file={self._accounts.key}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            # An API that a test serves is reached without anybody who makes Services work.
            "--enable-aggregator-routing=true",
            f"--default-not-ready-toleration-seconds={EVICTION_S}",
            f"--default-unreachable-toleration-seconds={EVICTION_S}",
        ]

    def _client(self, name: str, kubeconfig: Path) -> list[str]:
        common = [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--leader-elect=false",
            f"--bind-address={LOOPBACK}",
            # The defaults (20 and 50 requests a second) would be what a burst measures.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]
        if name == "kube-scheduler":
            return common
        return [
            *common,
            f"--root-ca-file={self.authority.own.certificate}",
            f"--service-account-private-key-file={self._accounts.key}",
            f"--cluster-signing-cert-file={self.authority.own.certificate}",
            f"--cluster-signing-key-file={self.authority.own.key}",
            "--use-service-account-credentials=true",
            f"--node-monitor-grace-period={NODE_GRACE_S}s",
            "--node-monitor-period=2s",
            # The default of 15 s would be most of what a test of autoscaling waits for.
            "--horizontal-pod-autoscaler-sync-period=5s",
        ]

    def _public_accounts_key(self) -> Path:
        path = self._accounts.key.with_suffix(".pub")
        key = serialization.load_pem_private_key(self._accounts.key.read_bytes(), password=None)
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
        return path
