"""One real node of our own control plane: containerd, kubelet, kube-proxy, a network and names.

Everything runs in the private namespaces of ``scripts/cluster.sh run`` and ends with them; only
cgroups are the machine's, under one directory that is removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

from shared.embedded.process import LOOPBACK, EmbeddedError, OwnedProcess, wait_until
from tests.cluster.images import Images, image
from tests.cluster.kube import Kube
from tests.cluster.node.containers import PLUGINS, PODS, Containers
from tests.cluster.node.groups import kill_group, make_group, unmount_under
from tests.cluster.node.release_values import digests_of
from tests.cluster.plane import ControlPlane
from tests.waiting import eventually

NAME = "real-0"
_NAMES_SERVICE = "10.96.0.10"
_VOLUMES = 8
# netpol's own default.
_QUEUE = "100"
_CGROUP = "barograph-test"
_START_TIMEOUT_S = 180.0
_MANIFESTS = Path(__file__).with_name("worker.yaml")


@dataclass
class RealNode:
    """A node named ``NAME`` with the images of this repository."""

    kube: Kube
    plane: ControlPlane
    images: Images
    state: Path = field(init=False)
    _running: dict[str, OwnedProcess] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.state = self.plane.state / "node"
        log = self.plane.state / "log/containerd.log"
        self._containers = Containers(self.state, log, self.images)

    # Life

    def start(self) -> None:
        """Start everything; returns when pods can run. EmbeddedError otherwise."""
        require_tools()
        self.state.mkdir(mode=0o700)
        try:
            self._prepare_host()
            self._containers.start()
            self._start_kubelet()
            self._start_proxy()
            self._furnish()
            self._ask_about_connections()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill what runs here, and forget the node."""
        if "kubelet" in self._running:
            self._forget()
        for process in reversed(self._running.values()):
            process.kill()
        self._running.clear()
        self._containers.stop()
        kill_group(_CGROUP)
        unmount_under(self.state)

    def _forget(self) -> None:
        """Take out of the cluster what would run on other nodes, then the node and its volumes."""
        options = ("--ignore-not-found", "--wait=false")
        self.kube.kubectl("delete", "-f", "-", *options, stdin=self._manifests())
        volumes = (f"pv/local-{number}" for number in range(_VOLUMES))
        self.kube.kubectl("delete", f"node/{NAME}", *volumes, *options)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """No kubelet while the block runs: the node is lost to the cluster, its pods run on."""
        self._running.pop("kubelet").stop()
        try:
            yield
        finally:
            self._start_kubelet()

    def name_by_digest(self) -> None:
        """Give each image the name that it has where it is named by its digest."""
        for name, digest in digests_of(self.images).items():
            self._containers.tag(name, f"{name.rpartition(':')[0]}@{digest}")

    # The machine's part

    def _prepare_host(self) -> None:
        # Mounts of a pod reach its volumes only where mounts are shared; with ourselves alone.
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        make_group(_CGROUP)

    # kubelet and kube-proxy

    def _start_kubelet(self) -> None:
        authority, address = self.plane.authority, self.plane.network.address
        pair = authority.issue("kubelet", f"system:node:{NAME}", ["system:nodes"])
        serving = authority.issue("kubelet-server", NAME, hosts=[address, NAME])
        kubeconfig = self.plane.kubeconfig_for("kubelet", pair)
        names = self.state / "resolv.conf"
        names.write_text("# Nothing outside has a name here.\n")
        configuration = self.state / "kubelet.yaml"
        document: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.own.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(serving.certificate),
            "tlsPrivateKeyFile": str(serving.key),
            "containerRuntimeEndpoint": f"unix://{self._containers.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{_CGROUP}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDomain": "cluster.local",
            "clusterDNS": [_NAMES_SERVICE],
            "resolvConf": str(names),
            "healthzBindAddress": LOOPBACK,
            # A machine for development has its disk as full as it has; images cannot come back.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "volumePluginDir": str(self.state / "volume-plugins"),
            "podLogsDir": str(self.state / "pod-logs"),
            "registerWithTaints": [],
        }
        configuration.write_text(yaml.safe_dump(document))
        self._start(
            "kubelet",
            [
                str(self.plane.network.program("kubelet")),
                f"--config={configuration}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={self.state / 'kubelet'}",
                f"--cert-dir={self.state / 'kubelet-pki'}",
                f"--hostname-override={NAME}",
                f"--node-ip={address}",
                "--v=2",
            ],
        )
        process = self._running["kubelet"]
        try:
            wait_until(self._ready, _START_TIMEOUT_S, "kubelet", alive=process.alive)
        except EmbeddedError as error:
            raise EmbeddedError(f"{error}; its log ends with:\n{process.log_tail()}") from error

    def _ready(self) -> bool:
        nodes = self.kube.core.list_node(field_selector=f"metadata.name={NAME}").items
        conditions = [each for node in nodes for each in node.status.conditions or []]
        return any(each.type == "Ready" and each.status == "True" for each in conditions)

    def _start_proxy(self) -> None:
        pair = self.plane.authority.issue("kube-proxy", "system:kube-proxy")
        configuration = self.state / "kube-proxy.yaml"
        document = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self.plane.kubeconfig_for("kube-proxy", pair))},
            "clusterCIDR": PODS,
            "hostnameOverride": NAME,
            "healthzBindAddress": f"{LOOPBACK}:10256",
            "metricsBindAddress": f"{LOOPBACK}:10249",
            # The machine's limits stay as they are.
            "conntrack": {
                "maxPerCore": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
        configuration.write_text(yaml.safe_dump(document))
        program = str(self.plane.network.program("kube-proxy"))
        self._start("kube-proxy", [program, f"--config={configuration}"])

    # The parts of a cluster that its installer brings

    def _furnish(self) -> None:
        """Names, network policies, and volumes with a default class: static ones."""
        self.kube.kubectl("apply", "--server-side", "-f", "-", stdin=self._manifests())
        self.kube.apply(*(self._volume(number) for number in range(_VOLUMES)))
        eventually(self._furniture_stands, "CoreDNS and network policies on the node")

    def _manifests(self) -> str:
        return Template(_MANIFESTS.read_text()).substitute(
            COREDNS=image("coredns"), NETPOL=image("netpol"), ADDRESS=_NAMES_SERVICE
        )

    def _ask_about_connections(self) -> None:
        """Have every connection of pods judged by netpol; its own rules need a fuller kernel.

        Those use nftables' expression ``queue``, which not every kernel has; iptables' target of
        the same effect is older. What the node itself sends, probes among it, is not asked about.
        """
        known = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"]
        local = ["-m", "addrtype", "--src-type", "LOCAL", "-j", "RETURN"]
        ask = ["-j", "NFQUEUE", "--queue-num", _QUEUE]
        # Packets for the node itself, as those for the API server are, do not pass POSTROUTING.
        for rule in (
            ["INPUT", *known],
            ["INPUT", "-s", PODS, *ask],
            ["POSTROUTING", *known],
            ["POSTROUTING", *local],
            ["POSTROUTING", "-s", PODS, *ask],
            ["POSTROUTING", "-d", PODS, *ask],
        ):
            command = ["iptables", "--wait", "-t", "mangle", "-A", *rule]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise EmbeddedError(f"{' '.join(command)}: {done.stderr.decode()}")

    def _volume(self, number: int) -> dict[str, Any]:
        path = self.state / "volumes" / str(number)
        path.mkdir(parents=True)
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"local-{number}"},
            "spec": {
                "capacity": {"storage": "20Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "local",
                "local": {"path": str(path)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        }

    def _furniture_stands(self) -> bool:
        names = self.kube.get("deployment", "coredns", "-n", "kube-system")["status"]
        policies = self.kube.get("daemonset", "netpol", "-n", "kube-system")["status"]
        return bool(names.get("readyReplicas") and policies.get("numberReady"))

    # Processes

    def _start(self, name: str, command: list[str]) -> None:
        log = self.plane.state / "log" / f"{name}.log"
        self._running[name] = OwnedProcess(command, log=log, umask=0o022)


def require_tools() -> None:
    """EmbeddedError when something is missing that a real node needs."""
    names = ("containerd", "runc", "ctr", "iptables", "mount", "umount")
    missing = [name for name in names if shutil.which(name) is None]
    missing += [
        f"{PLUGINS}/{name}" for name in ("ptp", "host-local") if not (PLUGINS / name).exists()
    ]
    if missing or os.geteuid():
        raise EmbeddedError(
            "a real node needs root and containerd, runc, containernetworking-plugins and "
            f"iptables (`scripts/setup.sh node`); missing: {', '.join(missing) or 'root'}. Or name "
            "a cluster to use in BAROGRAPH_TEST_KUBECONFIG"
        )
