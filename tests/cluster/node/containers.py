"""containerd with the images of this repository, and the network of its pods."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.embedded.process import LOOPBACK, EmbeddedError, OwnedProcess, wait_until
from tests.cluster.images import Images, image

PODS = "10.244.0.0/24"
PLUGINS = Path("/usr/lib/cni")
_START_TIMEOUT_S = 180.0


@dataclass
class Containers:
    """containerd, its files under ``state``, its log in ``log``."""

    state: Path
    log: Path
    images: Images
    _process: OwnedProcess | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.state / "containerd.sock"

    def start(self) -> None:
        """Start it with its images unpacked; returns when it answers."""
        network = self.state / "cni"
        network.mkdir()
        # Point to point: packets between pods pass the node's routes, and so kube-proxy's rules,
        # without the kernel module a bridge needs for that.
        plugins: list[dict[str, Any]] = [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(self.state / "addresses"),
                },
            }
        ]
        (network / "10-pods.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})
        )
        configuration = self.state / "containerd.toml"
        configuration.write_text(_settings(self.state, self.socket, network))
        root, kept = self.state / "containerd", self.images.unpacked
        if kept.exists():
            _link_store(kept, root)
        else:
            self._unpack(root, kept)
        self._run()

    def _unpack(self, root: Path, kept: Path) -> None:
        """Import the images, and keep the store for the next run."""
        for relative in self.images.relatives()[:1]:
            _link_store(relative, root)
        self._run()
        self._import_images()
        assert self._process is not None
        self._process.stop()
        _link_store(root, kept)

    def stop(self) -> None:
        """Kill it and the containers, which are no children of ours."""
        if self._process is None:
            return
        subprocess.run([*self._ctr(), "tasks", "kill", "--all"], capture_output=True, check=False)
        self._process.kill()
        self._process = None

    def _run(self) -> None:
        command = ["containerd", f"--config={self.state / 'containerd.toml'}"]
        self._process = OwnedProcess(command, log=self.log, umask=0o022)
        try:
            wait_until(self._answers, _START_TIMEOUT_S, "containerd", alive=self._process.alive)
        except EmbeddedError as error:
            tail = self._process.log_tail()
            raise EmbeddedError(f"{error}; its log ends with:\n{tail}") from error

    def _answers(self) -> bool:
        asked = subprocess.run([*self._ctr(), "version"], capture_output=True, check=False)
        return not asked.returncode

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

    def tag(self, name: str, other: str) -> None:
        """Give an image another name beside its own."""
        command = [*self._ctr(), "images", "tag", "--force", name, other]
        subprocess.run(command, check=True, capture_output=True)

    def _ctr(self) -> list[str]:
        return ["ctr", f"--address={self.socket}", "--namespace=k8s.io"]


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


def _settings(state: Path, socket: Path, network: Path) -> str:
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
bin_dir = "{PLUGINS}"
conf_dir = "{network}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""
