"""Remediations through a real API server, each with no more rights than the chart gives for it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pytest

from services.healer.remediations import Outcome, Remediation, Step, StepFailed, make
from shared.contracts import SeriesRef
from tests.chart.rendering import render
from tests.cluster.kube import Kube
from tests.cluster.kwok import FakeNodes
from tests.troubles import Noted
from tests.waiting import eventually

_NAMESPACED = {"Role", "RoleBinding"}
_WIDE = {"ClusterRole", "ClusterRoleBinding"}


@dataclass
class Case:
    """A remediation in a cluster, as the healer's service account with the chart's rights."""

    kube: Kube
    namespace: str
    remedy: Remediation
    labels: dict[str, str]

    def run(
        self,
        journal: Noted | None = None,
        *,
        dry_run: bool = False,
        only: Collection[str] | None = None,
    ) -> Outcome:
        series = SeriesRef(host="monitor", item="kube.metric", labels=self.labels)
        journal = journal or Noted()
        return self.remedy.run(series, dry_run=dry_run, journal=journal, only=only)

    def again(self, **settings: Any) -> Case:
        fields = self.remedy.model_dump() | settings
        return Case(self.kube, self.namespace, make(self.remedy.NAME, fields), self.labels)


Maker = Callable[..., Case]


@pytest.fixture
def case(kube: Kube, namespace: str) -> Maker:
    def made(remediation: str, rights: str, labels: dict[str, str], **settings: Any) -> Case:
        values = {
            "healer": {"remediations": {"kubernetes": {"namespaces": [namespace], rights: True}}}
        }
        wanted = [m for m in render(values=values) if "healer" in m["metadata"]["name"]]
        for manifest in wanted:
            if manifest["kind"] in _NAMESPACED | _WIDE:
                meta = manifest["metadata"]
                if manifest["kind"] in _WIDE:
                    meta["name"] = f"{meta['name']}-{namespace}"
                    if "roleRef" in manifest:
                        manifest["roleRef"]["name"] = meta["name"]
                for subject in manifest.get("subjects", []):
                    subject["namespace"] = namespace
                kube.apply(manifest)
        account = "demo-barograph-healer"
        kube.core.create_namespaced_service_account(namespace, {"metadata": {"name": account}})
        config = kube.service_account_kubeconfig(namespace, account)
        fields = {"kubeconfig": str(config), "namespaces": [namespace], **settings}
        remedy = make(remediation, fields)
        return Case(kube, namespace, remedy, {"namespace": namespace, **labels})

    return made


def deployment(kube: Kube, namespace: str, replicas: int = 2) -> None:
    workload(kube, namespace, "Deployment", replicas, replicas=replicas)


def workload(kube: Kube, namespace: str, kind: str, pods: int, **more: Any) -> None:
    labels = {"app": "web"}
    kube.apply(
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "any"}]},
                },
                **more,
            },
        }
    )
    eventually(lambda: len(running(kube, namespace)) == pods, "its pods")


def running(kube: Kube, namespace: str) -> list[Any]:
    pods = kube.core.list_namespaced_pod(namespace).items
    return [
        p for p in pods if p.status.phase == "Running" and p.metadata.deletion_timestamp is None
    ]


def budget(kube: Kube, namespace: str, least: int) -> None:
    kube.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}},
        }
    )
    eventually(
        lambda: kube.get("pdb", "web", "-n", namespace)["status"].get("currentHealthy"), "it counts"
    )


def done_once(case: Case) -> Step:
    """Return what every remediation must keep to: a dry run, one run, and a repetition."""
    dry = case.run(Noted(), dry_run=True)
    assert dry.succeeded, dry.detail
    assert all(step.command.startswith("kubectl ") and step.identity for step in dry.steps)
    assert case.run(only={"another"}).steps == ()
    journal = Noted(lambda step: _not_yet(case, step))
    outcome = case.run(journal)
    assert outcome.succeeded, outcome
    assert [s.target for s in outcome.steps] == [s.target for s in dry.steps]
    steps = [step for kind, step in journal.events if kind == "done"]
    assert all(case.remedy.happened(step) for step in steps)
    case.remedy.perform(steps[-1])
    return steps[-1]


def _not_yet(case: Case, step: Step) -> None:
    assert not case.remedy.happened(step)


def test_a_pod_is_evicted_and_replaced_and_a_repetition_spares_its_successor(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    deployment(kube, namespace)
    name = running(kube, namespace)[0].metadata.name
    made = case("restart-pod", "evictPods", {"pod": name})
    done_once(made)
    eventually(lambda: len(running(kube, namespace)) == 2, "a new pod")
    assert name not in {p.metadata.name for p in running(kube, namespace)}


def test_a_disruption_budget_forbids_an_eviction_with_the_reason(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    deployment(kube, namespace)
    budget(kube, namespace, 2)
    name = running(kube, namespace)[0].metadata.name
    outcome = case("restart-pod", "evictPods", {"pod": name}).run()
    assert not outcome.succeeded
    assert "disruption budget forbids it now" in outcome.steps[0].error


def test_a_pod_is_deleted_past_budgets_only_where_that_was_allowed(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    deployment(kube, namespace)
    name = running(kube, namespace)[0].metadata.name
    made = case("restart-pod", "deletePods", {"pod": name}, evict=False)
    evicting = made.again(evict=True).run()
    assert "forbidden" in evicting.steps[0].error, "deleting is all it may"
    done_once(made)


def test_a_pod_without_a_controller_and_a_foreign_namespace_are_left_alone(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    spec = {"containers": [{"name": "main", "image": "any"}]}
    kube.core.create_namespaced_pod(namespace, {"metadata": {"name": "alone"}, "spec": spec})
    made = case("restart-pod", "evictPods", {"pod": "alone"})
    assert "no controller" in made.run().detail
    foreign = made.again(namespaces=["other-*"]).run()
    assert not foreign.succeeded
    assert "not allow-listed" in foreign.detail
    gone = Case(kube, namespace, made.remedy, made.labels | {"pod": "gone"}).run()
    assert "no such pod" in gone.detail


def test_a_rollout_is_restarted_once_for_one_plan(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    deployment(kube, namespace)
    before = {p.metadata.uid for p in running(kube, namespace)}
    made = case("rollout-restart", "rolloutRestart", {"deployment": "web"})
    step = done_once(made)
    generation = kube.get("deployment", "web", "-n", namespace)["metadata"]["generation"]
    assert generation == 2, "the repetition changed nothing"
    eventually(
        lambda: not before & {p.metadata.uid for p in running(kube, namespace)}, "new pods only"
    )
    kube.kubectl("scale", "deployment/web", "--replicas=3", "-n", namespace)
    late = Step(step.action, step.target, identity=step.identity.rpartition(":")[0] + ":9")
    with pytest.raises(StepFailed, match="changed since it was planned"):
        made.remedy.perform(late)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_rollout_of_what_is_no_deployment_is_restarted_unless_it_waits_for_deletions(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes, kind: str
) -> None:
    kwok_nodes(1)
    workload(kube, namespace, kind, 1)
    before = {p.metadata.uid for p in running(kube, namespace)}
    made = case("rollout-restart", "rolloutRestart", {kind.lower(): "web"})
    assert done_once(made).target == f"{namespace}/{kind.lower()}/web"
    eventually(lambda: {p.metadata.uid for p in running(kube, namespace)} - before, "its new pod")
    waits = '{"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}'
    kube.kubectl("patch", kind.lower(), "web", "-n", namespace, "-p", waits)
    refused = made.run(dry_run=True)
    assert not refused.steps
    assert "OnDelete" in refused.detail


def test_a_deployment_is_scaled_up_to_its_limit_and_back(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    kwok_nodes(1)
    deployment(kube, namespace)
    made = case("scale-deployment", "scale", {"deployment": "web"}, factor=2, max_replicas=3)
    step = done_once(made)

    def replicas() -> int:
        return int(kube.get("deployment", "web", "-n", namespace)["spec"]["replicas"])

    assert replicas() == 3
    assert "the most it may have" in made.run().detail
    made.remedy.undo(step)
    made.remedy.undo(step)
    assert replicas() == 2
    kube.kubectl("scale", "deployment/web", "--replicas=5", "-n", namespace)
    with pytest.raises(StepFailed, match="somebody else has scaled it to 5"):
        made.remedy.undo(step)


def test_a_node_is_cordoned_and_uncordoned(case: Maker, kube: Kube, kwok_nodes: FakeNodes) -> None:
    (name,) = kwok_nodes(1)
    made = case("cordon-node", "cordonNodes", {"node": name}, nodes=["fake-*"])
    step = done_once(made)
    assert kube.get("node", name)["spec"]["unschedulable"]
    made.remedy.undo(step)
    assert not kube.get("node", name)["spec"].get("unschedulable")
    assert "not allow-listed" in made.again(nodes=["prod-*"]).run().detail


def test_a_node_is_drained_of_what_has_a_controller_and_the_rest_is_said(
    case: Maker, kube: Kube, namespace: str, kwok_nodes: FakeNodes
) -> None:
    (name,) = kwok_nodes(1)
    deployment(kube, namespace)
    spec = {"containers": [{"name": "main", "image": "any"}], "nodeName": name}
    kube.core.create_namespaced_pod(namespace, {"metadata": {"name": "alone"}, "spec": spec})
    kwok_nodes(1)
    made = case("drain-node", "drainNodes", {"node": name}, nodes=["fake-*"])
    dry = made.run(dry_run=True)
    assert [s.action for s in dry.steps] == ["cordon", "evict", "evict"]
    assert "1 pods without a controller stay" in dry.detail
    done_once(made)

    def elsewhere() -> bool:
        pods = [p for p in running(kube, namespace) if p.metadata.name != "alone"]
        return len(pods) == 2 and all(p.spec.node_name != name for p in pods)

    eventually(elsewhere, "both pods on the other node")


def test_a_claim_is_expanded_where_its_class_allows_it(
    case: Maker, kube: Kube, namespace: str
) -> None:
    for suffix, allowed in (("yes", True), ("no", False)):
        kube.apply(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": f"{namespace}-{suffix}"},
                "provisioner": "barograph.test/none",
                "allowVolumeExpansion": allowed,
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{namespace}-{suffix}"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": f"{namespace}-{suffix}",
                    "hostPath": {"path": "/tmp/none"},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": suffix, "namespace": namespace},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": f"{namespace}-{suffix}",
                    "volumeName": f"{namespace}-{suffix}",
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            },
        )
        eventually(
            lambda s=suffix: kube.get("pvc", s, "-n", namespace)["status"]["phase"] == "Bound",
            "bound",
        )
    made = case("expand-claim", "expandClaims", {"persistentvolumeclaim": "yes"}, max_gib=2)
    done_once(made)
    claim = kube.get("pvc", "yes", "-n", namespace)
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert "the most it may have" in made.run().detail
    refused = Case(kube, namespace, made.remedy, made.labels | {"persistentvolumeclaim": "no"})
    outcome = refused.run()
    assert not outcome.succeeded
    assert outcome.steps[0].error
