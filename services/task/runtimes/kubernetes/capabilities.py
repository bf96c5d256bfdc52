"""The features of the API server; asked at start, never assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.cluster import Cluster, ClusterError, Object

MIN_VERSION = (1, 31)
"""Jobs' ``podReplacementPolicy``, per-index limits and native sidecars are on by default there."""


@dataclass(frozen=True)
class Capabilities:
    """Version and optional API groups."""

    version: str
    kueue: str
    """The version of Kueue's API that the server serves, ``group/version``; empty without Kueue."""
    claims: bool


def detect(cluster: Cluster) -> Capabilities:
    """Ask the API server.

    Raises:
        ClusterError: when it is too old, or does not answer.
    """
    answer = cluster.get("/version")
    version = str(answer.get("gitVersion", ""))
    numbers = re.findall(r"\d+", version)[:2]
    if len(numbers) < len(MIN_VERSION) or tuple(map(int, numbers)) < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        raise ClusterError(f"Kubernetes {least} or newer is needed; {cluster.url} is {version}")
    groups = {group["name"]: group for group in cluster.get("/apis").get("groups") or []}
    return Capabilities(
        version=version,
        kueue=next(iter(_served(groups, "kueue.x-k8s.io")), ""),
        claims="resource.k8s.io/v1" in _served(groups, "resource.k8s.io"),
    )


def _served(groups: Mapping[str, Object], name: str) -> list[str]:
    """The group's versions that are no previews, the server's preferred one first."""
    group = groups.get(name, {})
    preferred = (group.get("preferredVersion") or {}).get("groupVersion")
    found = [str(each["groupVersion"]) for each in group.get("versions") or []]
    stable = [version for version in found if "alpha" not in version]
    return sorted(stable, key=lambda version: version != preferred)
