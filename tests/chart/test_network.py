"""Default deny, and the flows that are needed: what each pod may reach, and who may reach it."""

from __future__ import annotations

import pytest

from tests.chart.rendering import NAMESPACE, SCENARIOS, Manifest, named, pods, render

INSTANCE = {"app.kubernetes.io/name": "barograph", "app.kubernetes.io/instance": "demo"}


def policies(manifests: list[Manifest], namespace: str = NAMESPACE) -> dict[str, Manifest]:
    """The policies of a namespace by the component they are about; "" for all pods."""
    return {
        m["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component", ""): m[
            "spec"
        ]
        for m in manifests
        if m["kind"] == "NetworkPolicy" and m["metadata"]["namespace"] == namespace
    }


def out(policy: Manifest) -> set[int]:
    """Ports it may reach, names' own left out."""
    return {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])} - {53}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_of_the_release_is_denied_all_and_has_a_policy_of_its_own(scenario: str) -> None:
    manifests = render(scenario)
    found = policies(manifests)

    assert found.pop("") == {
        "podSelector": {"matchLabels": INSTANCE},
        "policyTypes": ["Ingress", "Egress"],
    }
    made = {name.removeprefix("demo-barograph-") for name, _ in pods(manifests)}
    assert made <= set(found)
    for policy in found.values():
        assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_a_service_reaches_the_servers_it_uses_and_no_other() -> None:
    found = policies(render(values={"objectStore": {"port": 8443}}))
    broker, store, objects, api = 5672, 5432, 8443, {443, 6443}

    # The healer's snapshots of machines' health are in the object store: a standby reads them.
    assert {name: out(found[name]) for name in found if name} == {
        "client": {broker, store, objects, 8081},
        "task": {broker, store, objects} | api,
        "autospec": {broker, store},
        "detector": {broker, objects},
        "predictor": {broker, objects},
        "healer": {broker, store, objects},
        "agent": {broker},
        "schema": {store},
        "uninstall": api,
        "test": {broker, objects, 8000},
    }


def test_only_page_gateway_and_healer_take_calls_and_nobody_scrapes_unasked() -> None:
    found = policies(render())
    called = {"client", "detector", "healer"}

    assert {name for name in found if found[name].get("ingress")} == called
    assert {name for name in found if "ingress" in found[name]} == called


def test_peers_that_are_named_are_the_only_ones() -> None:
    found = policies(render("everything"))

    for name in ("client", "gateway"):
        calls, scrapes = found[name]["ingress"]
        assert [next(iter(peer)) for peer in calls["from"]] == ["podSelector", "namespaceSelector"]
        assert calls["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == (
            "test"
        )
        assert len(scrapes["from"]) == 1
    names, *servers = found["task"]["egress"]
    assert "to" not in names
    assert [rule["to"][0]["ipBlock"]["cidr"] for rule in servers] == [
        "10.0.0.0/24",
        "10.0.2.0/24",
        "10.0.1.0/24",
        "10.0.4.1/32",
    ]


def test_the_page_reaches_the_healer_of_its_release() -> None:
    for scenario in SCENARIOS:
        found = policies(render(scenario))
        (way,) = [rule for rule in found["client"]["egress"] if rule["ports"] == [{"port": 8081}]]
        assert way["to"] == [
            {"podSelector": {"matchLabels": INSTANCE | {"app.kubernetes.io/component": "healer"}}}
        ]
    callers = policies(render("everything"))["healer"]["ingress"][0]["from"]
    components = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for peer in callers
        if "podSelector" in peer
    ]
    assert components == ["test", "client"]


def test_a_job_reaches_jobs_broker_and_object_store_and_is_reached_by_jobs() -> None:
    (policy,) = policies(render("quickstart"), "barograph-jobs").values()
    servers = [
        (
            rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"],
            rule["ports"][0]["port"],
        )
        for rule in policy["egress"][2:]
    ]

    assert policy["podSelector"] == {}
    assert policy["ingress"] == [{"from": [{"podSelector": {}}]}]
    assert policy["egress"][0] == {"to": [{"podSelector": {}}]}
    assert servers == [(NAMESPACE, "rabbitmq", 5672), (NAMESPACE, "seaweedfs", 8333)]


def test_the_quickstarts_database_is_for_services_with_a_store() -> None:
    manifests = render("quickstart")
    (rule,) = policies(manifests)["postgresql"]["ingress"]
    (peer,) = rule["from"]
    (expression,) = peer["podSelector"]["matchExpressions"]
    users = {
        name.removeprefix("demo-barograph-")
        for name, pod in pods(manifests)
        if any(c["name"].startswith("schema-") for c in pod.get("initContainers", []))
    }

    assert set(expression["values"]) == users | {"schema"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_named_ports_are_ports_of_the_pods_they_are_about(scenario: str) -> None:
    manifests = render(scenario)
    found = policies(manifests)
    for name, pod in pods(manifests):
        ports = {p["name"] for c in pod["containers"] for p in c.get("ports", [])}
        for rule in found[name.removeprefix("demo-barograph-")].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports, name


def test_services_lead_to_ports_of_their_pods() -> None:
    manifests = render("quickstart")
    for service in (m for m in manifests if m["kind"] == "Service"):
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        (pod,) = [p for n, p in pods(manifests) if n == f"demo-barograph-{component}"]
        ports = {p["name"] for c in pod["containers"] for p in c["ports"]}
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports


def test_the_ingress_leads_to_page_gateway_and_healer() -> None:
    manifests = render("everything")
    (ingress,) = [m for m in manifests if m["kind"] == "Ingress"]
    leads = {
        rule["host"]: rule["http"]["paths"][0]["backend"]["service"]
        for rule in ingress["spec"]["rules"]
    }

    assert leads == {
        "barograph.example.com": {"name": "demo-barograph-client", "port": {"name": "http"}},
        "metrics.example.com": {"name": "demo-barograph-gateway", "port": {"name": "http"}},
        "healer.example.com": {"name": "demo-barograph-healer", "port": {"name": "http"}},
    }
    assert set(leads) == set(ingress["spec"]["tls"][0]["hosts"])
    hosts = named(manifests, "ConfigMap", "client")["data"]["BAROGRAPH_CLIENT_ALLOWED_HOSTS"]
    assert {"barograph.example.com", "barograph.internal"} <= set(hosts.split(","))
