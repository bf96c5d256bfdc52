"""What the API server can do; asked at start, never assumed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.cluster import Cluster, ClusterError

LEAST = (1, 31)
"""Jobs' ``podReplacementPolicy``, per-index limits and native sidecars are on by default there."""


@dataclass(frozen=True)
class Capabilities:
    """Version and optional API groups."""

    version: str
    kueue: bool
    claims: bool


def detect(cluster: Cluster) -> Capabilities:
    """Ask the API server.

    Raises:
        ClusterError: when it is too old, or does not answer.
    """
    told = cluster.get("/version")
    version = str(told.get("gitVersion", ""))
    numbers = re.findall(r"\d+", version)[:2]
    if len(numbers) < len(LEAST) or tuple(map(int, numbers)) < LEAST:
        least = ".".join(map(str, LEAST))
        raise ClusterError(f"Kubernetes {least} or newer is needed; {cluster.url} is {version}")
    groups = {
        group["name"]: {each["groupVersion"] for each in group["versions"]}
        for group in cluster.get("/apis").get("groups") or []
    }
    return Capabilities(
        version=version,
        kueue="kueue.x-k8s.io" in groups,
        claims="resource.k8s.io/v1" in groups.get("resource.k8s.io", set()),
    )
