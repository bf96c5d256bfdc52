"""What the API server serves decides what is asked of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.task.runtimes.kubernetes.capabilities import detect
from shared.cluster import Cluster, ClusterError

KUEUE = "kueue.x-k8s.io"


class Server:
    """Answers for its version and its groups."""

    url = "https://cluster"

    def __init__(self, version: str, *groups: dict[str, Any]) -> None:
        self.answers = {"/version": {"gitVersion": version}, "/apis": {"groups": list(groups)}}

    def get(self, path: str) -> dict[str, Any]:
        return self.answers[path]


def group(name: str, *versions: str, preferred: str = "") -> dict[str, Any]:
    each = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    best = f"{name}/{preferred or versions[0]}"
    return {"name": name, "versions": each, "preferredVersion": {"groupVersion": best}}


@pytest.mark.parametrize(
    ("served", "preferred", "read"),
    [
        (["v1beta1"], "v1beta1", "v1beta1"),
        (["v1beta2"], "v1beta2", "v1beta2"),
        (["v1beta1", "v1beta2"], "v1beta2", "v1beta2"),
        (["v1alpha1", "v1beta2"], "v1alpha1", "v1beta2"),
        (["v1", "v1beta2"], "v1", "v1"),
    ],
)
def test_kueue_is_read_in_the_version_that_is_served(
    served: list[str], preferred: str, read: str
) -> None:
    server = Server("v1.34.4", group(KUEUE, *served, preferred=preferred))
    assert detect(cast("Cluster", server)).kueue == f"{KUEUE}/{read}"


def test_what_is_served_as_a_preview_only_or_not_at_all_is_not_there() -> None:
    server = Server("v1.34.4", group(KUEUE, "v1alpha1"), group("resource.k8s.io", "v1beta1"))
    found = detect(cast("Cluster", server))
    assert (found.kueue, found.claims) == ("", False)
    assert detect(cast("Cluster", Server("v1.34.4", group("resource.k8s.io", "v1")))).claims


@pytest.mark.parametrize("version", ["v1.30.9", "", "unknown"])
def test_a_server_that_is_too_old_is_named(version: str) -> None:
    with pytest.raises(ClusterError, match=r"1\.31 or newer is needed"):
        detect(cast("Cluster", Server(version)))
