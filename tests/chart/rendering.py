"""Rendering the chart with a real helm, and reading what comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/barograph"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*.yaml"))
RELEASE, NAMESPACE = "demo", "barograph"
KUBERNETES = "1.34.0"

Manifest = dict[str, Any]


class NoHelmError(RuntimeError):
    """There is no helm to render with; the text says how to get one."""


class ChartError(Exception):
    """helm refused; the text is what it said."""


def find_helm() -> Path:
    """helm of PATH, or the one that was built for the tests on a cluster."""
    found = shutil.which("helm")
    if found:
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    built = sorted(cache.glob("barograph/cluster/*/bin/helm"))
    if not built:
        raise NoHelmError("helm is neither on PATH nor in the cache: run `make cluster-tools`")
    return built[-1]


def helm(*arguments: str) -> str:
    """Output of a helm command.

    Raises:
        ChartError: with what it said.
    """
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [find_helm(), *arguments],
            # Nobody's cluster, plug-ins or repositories.
            env={"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": f"{home}/none"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if done.returncode:
        raise ChartError(done.stderr + done.stdout)
    return done.stdout


def render(
    scenario: str = "external", values: Manifest | None = None, *more: str, chart: Path = CHART
) -> list[Manifest]:
    """The manifests of a scenario of ``ci/``, with further values over it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "values.json")
        path.write_text(json.dumps(values or {}))
        text = helm(
            "template", RELEASE, str(chart), "--namespace", NAMESPACE,
            "--kube-version", KUBERNETES,
            "--values", str(CHART / "ci" / f"{scenario}-values.yaml"), "--values", str(path), *more,
        )  # fmt: skip
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one object of this kind whose name ends so."""
    found = [
        m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(f"-{name}")
    ]
    assert len(found) == 1, f"{kind} {name}: {[m['metadata']['name'] for m in found]}"
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod specification, with the name of what makes it."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["spec"]
        elif "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """All of a pod's containers."""
    return [*pod.get("initContainers", []), *pod["containers"]]
