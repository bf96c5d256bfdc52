"""One real node of our own control plane: containerd, kubelet, kube-proxy, a network and names.

Everything runs in the private namespaces of ``scripts/cluster.sh run`` and ends with them; only
cgroups are the machine's, under one directory that is removed.
"""

from __future__ import annotations

import json
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
from tests.cluster.kube import Kube, eventually
from tests.cluster.plane import ControlPlane

NAME = "real-0"
_PODS = "10.244.0.0/24"
_NAMES_SERVICE = "10.96.0.10"
_VOLUMES = 8
# netpol's own default.
_QUEUE = "100"
_PLUGINS = Path("/usr/lib/cni")
_CGROUPS = Path("/sys/fs/cgroup")
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
        self._socket = self.state / "containerd.sock"

    # Life

    def start(self) -> None:
        """Start everything; returns when pods can run. EmbeddedError otherwise."""
        require_tools()
        self.state.mkdir(mode=0o700)
        try:
            self._prepare_host()
            self._start_containerd()
            self._start_kubelet()
            self._start_proxy()
            self._furnish()
            self._ask_about_connections()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill what runs here, and forget the node."""
        self.end_pods()
        for process in reversed(self._running.values()):
            process.kill()
        self._running.clear()
        _kill_group(_CGROUP)
        _unmount_under(self.state)

    def end_pods(self) -> None:
        """Containers are no children of ours: end them while there is somebody who can."""
        if "containerd" in self._running:
            subprocess.run(
                [*self._ctr(), "tasks", "kill", "--all"], capture_output=True, check=False
            )

    @contextmanager
    def silent(self) -> Iterator[None]:
        """No kubelet while the block runs: the node is lost to the cluster, its pods run on."""
        self._running.pop("kubelet").stop()
        try:
            yield
        finally:
            self._start_kubelet()

    # The machine's part

    def _prepare_host(self) -> None:
        # Mounts of a pod reach its volumes only where mounts are shared; with ourselves alone.
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        _kill_group(_CGROUP)
        for hierarchy in _hierarchies():
            group = hierarchy / _CGROUP
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / name).exists():
                    (group / name).write_text((hierarchy / name).read_text())

    # containerd

    def _start_containerd(self) -> None:
        network = self.state / "cni"
        network.mkdir()
        # Point to point: packets between pods pass the node's routes, and so kube-proxy's rules,
        # without the kernel module a bridge needs for that.
        plugins: list[dict[str, Any]] = [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": _PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(self.state / "addresses"),
                },
            }
        ]
        (network / "10-pods.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})
        )
        configuration = self.state / "containerd.toml"
        configuration.write_text(_containerd(self.state, self._socket, network))
        root, kept = self.state / "containerd", self.images.unpacked
        if kept.exists():
            _link_store(kept, root)
        else:
            self._unpack(root, kept)
        self._run_containerd()

    def _unpack(self, root: Path, kept: Path) -> None:
        """Import the images, and keep the store for the next run."""
        for relative in self.images.relatives()[:1]:
            _link_store(relative, root)
        self._run_containerd()
        self._import_images()
        self._running.pop("containerd").stop()
        _link_store(root, kept)

    def _run_containerd(self) -> None:
        self._start("containerd", ["containerd", f"--config={self.state / 'containerd.toml'}"])
        self._wait("containerd", lambda: not self._try(*self._ctr(), "version").returncode)

    def _import_images(self) -> None:
        command = [*self._ctr(), "images", "import", "-"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as importing:
            assert importing.stdin is not None
            assert importing.stdout is not None
            try:
                self.images.write_archive(importing.stdin)
                importing.stdin.close()
            except BrokenPipeError:
                pass  # what it says tells more
            said = importing.stdout.read().decode(errors="replace")
        if importing.returncode:
            raise EmbeddedError(f"containerd does not take the images:\n{said[-2000:]}")

    def _ctr(self) -> list[str]:
        return ["ctr", f"--address={self._socket}", "--namespace=k8s.io"]

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
            "containerRuntimeEndpoint": f"unix://{self._socket}",
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
        self._wait("kubelet", self._ready)

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
            "clusterCIDR": _PODS,
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

    # What a cluster has from its installer

    def _furnish(self) -> None:
        """Names, network policies, and volumes with a default class: static ones."""
        text = Template(_MANIFESTS.read_text()).substitute(
            COREDNS=image("coredns"), NETPOL=image("netpol"), ADDRESS=_NAMES_SERVICE
        )
        self.kube.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        self.kube.apply(*(self._volume(number) for number in range(_VOLUMES)))
        eventually(self._furniture_stands, "CoreDNS and network policies on the node")

    def _ask_about_connections(self) -> None:
        """Have every connection of pods judged by netpol; its own rules need a fuller kernel.

        Those use nftables' expression ``queue``, which not every kernel has; iptables' target of
        the same effect is older. What the node itself sends, probes among it, is not asked about.
        """
        local = ["-m", "addrtype", "--src-type", "LOCAL", "-j", "RETURN"]
        known = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"]
        ask = ["-j", "NFQUEUE", "--queue-num", _QUEUE]
        for rule in (local, known, ["-s", _PODS, *ask], ["-d", _PODS, *ask]):
            command = ["iptables", "--wait", "-t", "mangle", "-A", "POSTROUTING", *rule]
            done = self._try(*command)
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
        self._running[name] = OwnedProcess(command, log=self.plane.state / "log" / f"{name}.log")

    def _wait(self, name: str, ready: Any) -> None:
        process = self._running[name]
        try:
            wait_until(ready, _START_TIMEOUT_S, name, alive=process.alive)
        except EmbeddedError as error:
            raise EmbeddedError(f"{error}; its log ends with:\n{process.log_tail()}") from error

    def _try(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, capture_output=True, check=False)


def require_tools() -> None:
    """EmbeddedError when something is missing that a real node needs."""
    names = ("containerd", "runc", "ctr", "iptables", "mount", "umount")
    missing = [name for name in names if shutil.which(name) is None]
    missing += [
        f"{_PLUGINS}/{name}" for name in ("ptp", "host-local") if not (_PLUGINS / name).exists()
    ]
    if missing or os.geteuid():
        raise EmbeddedError(
            "a real node needs root and containerd, runc, containernetworking-plugins and "
            f"iptables (`scripts/setup.sh node`); missing: {', '.join(missing) or 'root'}. Or name "
            "a cluster to use in BAROGRAPH_TEST_KUBECONFIG"
        )


def _link_store(source: Path, to: Path) -> None:
    """A copy of containerd's store that shares its files: layers and blobs never change.

    Unpacking takes minutes, this takes seconds. On another file system it is not done.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f"{to.name}.{os.getpid()}")
    done = subprocess.run(["cp", "--archive", "--link", source, partial], check=False)
    if done.returncode:
        shutil.rmtree(partial)
        raise EmbeddedError(
            f"{source} cannot be linked into {to.parent}: give pytest a --basetemp on the same "
            "file system as the cache"
        )
    for database in partial.glob("*/*.db"):
        database.unlink()
        shutil.copy2(source / database.relative_to(partial), database)
    partial.rename(to)


def _containerd(state: Path, socket: Path, network: Path) -> str:
    """containerd's configuration, in its version 2, which all from 1.6 on read."""
    return f"""
version = 2
root = "{state}/containerd"
state = "{state}/containerd-run"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
]
[grpc]
address = "{socket}"
[ttrpc]
address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image("pause")}"
# Without CAP_SYS_RESOURCE nobody's score can be made better than our own.
restrict_oom_score_adj = true
enable_unprivileged_ports = true
stream_server_address = "{LOOPBACK}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{_PLUGINS}"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _hierarchies() -> list[Path]:
    """Roots of the machine's cgroups: one for each controller (v1), or one for all (v2)."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return sorted(path for path in _CGROUPS.iterdir() if path.is_dir() and os.path.ismount(path))


def _kill_group(name: str) -> None:
    """Remove a cgroup of a run before or of this one; what still runs in it is killed."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        if not group.exists():
            continue
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                _remove_group(path)
        _remove_group(group)


def _remove_group(group: Path) -> None:
    def gone() -> bool:
        for pid in (group / "cgroup.procs").read_text().split():
            try:
                os.kill(int(pid), 9)
            except ProcessLookupError:
                continue  # it has ended by itself
        try:
            group.rmdir()
        except OSError:
            return False
        return True

    eventually(gone, f"the end of the processes in {group}", timeout_s=30)


def _unmount_under(directory: Path) -> None:
    """Unmount what containers had mounted, deepest first, so that the directory can be removed."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((p for p in mounted if Path(p).is_relative_to(directory)), reverse=True):
        subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
