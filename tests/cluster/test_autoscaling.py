"""The chart's autoscaler of judges, moved by a real controller manager."""

from __future__ import annotations

import pytest

from tests.chart.rendering import Manifest, named, render
from tests.cluster.external_metrics import METRIC, ExternalMetrics
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.waiting import eventually

_VALUES: Manifest = {
    "gateway": {"enabled": True},
    "hpa": {"enabled": True, "detector": {"max": 8, "lagSeconds": 20}},
    "metricPartitions": 4,
}


def test_judges_are_added_while_their_streams_are_late_and_not_before(
    kube: Kube, kwok_nodes: FakeNodes, namespace: str
):
    if kube.plane is None:
        pytest.skip("the API of external metrics is served to a control plane of our own")
    kwok_nodes(1, cpu="32", memory="64Gi")
    made = render("external", _VALUES, "--namespace", namespace)
    judges = named(made, "StatefulSet", "detector")
    account = judges["spec"]["template"]["spec"]["serviceAccountName"]
    name, lag_s = judges["metadata"]["name"], [0.0]

    def replicas() -> tuple[int, int]:
        found = kube.get("statefulset", name, "-n", namespace)
        return found["spec"]["replicas"], found["status"].get("readyReplicas", 0)

    def told() -> str:
        return kube.kubectl("describe", "hpa", name, "-n", namespace)

    def known_lag() -> str:
        status = kube.get("hpa", name, "-n", namespace).get("status", {})
        # The processor's use is not known here: nobody serves it.
        found = [m["external"] for m in status.get("currentMetrics") or [] if "external" in m]
        return str(found[0]["current"].get("value", "")) if found else ""

    with ExternalMetrics(kube, kube.plane, lambda: lag_s[0]):
        metadata = {"name": account, "namespace": namespace}
        kube.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            judges,
            named(made, "HorizontalPodAutoscaler", "detector"),
        )
        eventually(lambda: replicas() == (1, 1), "one judge")
        eventually(lambda: known_lag() == "0", "the autoscaler to know that nobody is late")
        assert replicas() == (1, 1)
        lag_s[0] = 100.0
        # Its number at most doubles within a minute, however late they are.
        eventually(lambda: replicas() == (2, 2), "a second judge")
        assert f"reason: external metric {METRIC}" in told(), told()
