"""Rendering the chart with a real helm, and reading what comes out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/barograph"
SCENARIOS = sorted(path.name.removesuffix("-values.yaml") for path in CHART.glob("ci/*.yaml"))
RELEASE, NAMESPACE = "demo", "barograph"
KUBERNETES = "1.34.0"

Manifest = dict[str, Any]


def render(
    scenario: str = "external",
    values: Manifest | None = None,
    *more: str,
    chart: Path = CHART,
    release: str = RELEASE,
) -> list[Manifest]:
    """The manifests of a scenario of ``ci/``, with further values over it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "values.json")
        path.write_text(json.dumps(values or {}))
        text = helm(
            "template",
            release,
            str(chart),
            "--namespace",
            NAMESPACE,
            "--kube-version",
            KUBERNETES,
            "--values",
            str(CHART / "ci" / f"{scenario}-values.yaml"),
            "--values",
            str(path),
            *more,
        )
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
