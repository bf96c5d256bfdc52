"""A helm to render with: of PATH, of the cluster's tools, or built once from its module."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

MODULE, VERSION, KUBERNETES = "helm.sh/helm/v3", "v3.19.0", "1.34"


class NoHelmError(RuntimeError):
    """There is no helm and none can be made; the text says how to get one."""


class ChartError(Exception):
    """helm refused; the text is what it said."""


@cache
def find_helm() -> Path:
    """helm's path; building it takes two minutes and happens once for a machine's user."""
    found = shutil.which("helm")
    if found:
        return Path(found)
    tools = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "barograph/cluster"
    directory = tools / f"helm-{VERSION}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be building it
        built = sorted(tools.glob("*/bin/helm"))
        return built[-1] if built else _build(directory / "bin")


def _build(directory: Path) -> Path:
    go = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if go is None:
        raise NoHelmError("there is neither helm on PATH nor Go to build it with: run `make setup`")
    major, minor = KUBERNETES.split(".")
    capabilities = f"{MODULE}/pkg/chartutil"
    version = f"-X {capabilities}.k8sVersionMajor={major} -X {capabilities}.k8sVersionMinor={minor}"
    command = [go, "install", "-p", "2", "-ldflags", f"-s -w {version}"]
    command.append(f"{MODULE}/cmd/helm@{VERSION}")
    with tempfile.TemporaryDirectory(dir=directory.parent) as partial:
        subprocess.run(
            command,
            env=dict(os.environ) | {"GOBIN": partial, "CGO_ENABLED": "0"},
            check=True,
        )
        directory.mkdir(exist_ok=True)
        return Path(shutil.move(Path(partial, "helm"), directory / "helm"))


def helm(*arguments: str) -> str:
    """Output of a helm command.

    Raises:
        ChartError: with what it said.
    """
    program = find_helm()
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [program, *arguments],
            # Nobody's cluster, plug-ins or repositories.
            env={"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": f"{home}/none"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode:
        raise ChartError(done.stderr + done.stdout)
    return done.stdout
