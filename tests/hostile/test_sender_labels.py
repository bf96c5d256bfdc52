"""The machine of series as many senders label them: one machine each, whoever sends."""

from __future__ import annotations

import pytest

from services.detector.gateway import names
from services.detector.gateway.names import Targets, Understood, named, read_labels
from tests import remote_write

PROCESS = "627cc493-f310-47de-96bd-71410b7dec09"


def understood(labels: dict[str, str]) -> Understood:
    found = named({"__name__": "some_metric", **labels}, "", "")
    assert isinstance(found, Understood)
    return found


@pytest.mark.parametrize(
    ("labels", "machine"),
    [
        ({"instance": "web1:9100", "job": "node"}, "web1"),
        ({"instance": "WIN-ABC:9182", "volume": "C:"}, "win-abc"),
        ({"host": "web1", "cpu": "cpu-total"}, "web1"),
        ({"host": "web1", "instance": "C:"}, "web1"),
        ({"host": "www.example.com", "instance": "web1:9113"}, "web1"),
        ({"host.name": "web1", "state": "idle"}, "web1"),
        ({"host_name": "web1", "job": "shop/cart", "instance": PROCESS}, "web1"),
        ({"host.name": "web1", "job": "shop/cart", "instance": PROCESS.upper()}, "web1"),
        ({"hostname": "web1"}, "web1"),
        ({"k8s_node_name": "n1", "k8s_pod_name": "p"}, "n1"),
        ({"node": "n1", "namespace": "shop", "pod": "cart-1"}, "n1"),
        ({"instance": "10.0.0.1:10250", "node": "n1", "pod": "p"}, "10.0.0.1"),
        ({"instance": "Rack 7 (left)", "hostname": "web1"}, "web1"),
        ({"instance": "redis://db1:6379", "addr": "redis://db1:6379"}, "db1"),
        ({"instance": "https://example.com", "job": "blackbox"}, "example.com"),
        ({"host": "none", "instance": "web1:9100"}, "web1"),
        ({"host": "null", "hostname": "web1"}, "web1"),
        ({"instance": "unknown", "node": "n1"}, "n1"),
        ({"instance": PROCESS, "job": "shop/cart"}, PROCESS),
        ({"job": "rule"}, "unknown"),
    ],
)
def test_a_series_belongs_to_the_machine_that_its_sender_means(
    labels: dict[str, str], machine: str
) -> None:
    assert understood(labels).host == machine


def test_two_processes_of_one_machine_stay_two_series() -> None:
    other = PROCESS.replace("6", "7")
    first, second = (
        understood({"host_name": "web1", "job": "cart", "instance": each})
        for each in (PROCESS, other)
    )
    assert first.host == second.host
    assert first.labels != second.labels


def test_machines_without_instance_and_host_are_not_one() -> None:
    found = {understood({"host.name": name}).host for name in ("web1", "web2", "WEB2.")}
    assert found == {"web1", "web2"}


def encoded(labels: dict[str, str]) -> bytes:
    return b"".join(
        remote_write.field(
            1,
            remote_write.field(1, name.encode()) + remote_write.field(2, text.encode()),
        )
        for name, text in labels.items()
    )


def stored(*series: dict[str, str]) -> list[Understood]:
    """Return what becomes of series as they come over the wire, in their order."""
    targets, found = Targets(), []
    for labels in series:
        read, problem = read_labels(encoded(labels))
        targets.note(read)
        named_as = named(read, problem, "", "", targets)
        assert isinstance(named_as, Understood)
        found.append(named_as)
    return found


PUSHED = {"instance": "pushes:9091", "job": "pushgateway", "exported_job": "backup"}
FEDERATED = {"instance": "prom:9090", "job": "federate", "exported_job": "node"}


@pytest.mark.parametrize(
    ("labels", "machine"),
    [
        ({**FEDERATED, "exported_instance": "web1:9100"}, "web1"),
        ({**FEDERATED, "exported_instance": "db1"}, "db1"),
        ({**FEDERATED, "exported_instance": "localhost:9100"}, "prom"),
        ({**FEDERATED, "exported_instance": ""}, "prom"),
        (
            {"exported_instance": "web2.example", "instance": "127.0.0.1:9103", "job": "collectd"},
            "web2.example",
        ),
        ({"exported_instance": "web3", "instance": "cd:9103", "job": "collectd-exporter"}, "web3"),
        ({"exported_instance": "localhost", "instance": "cd:9103", "job": "collectd"}, "cd"),
        ({**PUSHED, "exported_instance": "db1"}, "db1"),
        (PUSHED, "pushes"),
        ({"exported_instance": "localhost:2181", "instance": "zk1:9120", "job": "zk"}, "zk1"),
        ({"exported_instance": "SQLEXPRESS", "instance": "win1:9182", "job": "graphite"}, "win1"),
    ],
)
def test_a_series_through_a_middleman_belongs_to_the_machine_that_was_measured(
    labels: dict[str, str], machine: str
) -> None:
    (found,) = stored({"__name__": "node_load1", **labels})
    assert found.host == machine


@pytest.mark.parametrize("job", [{"job": "shop"}, {"job": "my-federated-shop"}, {}])
def test_what_is_scraped_cannot_call_itself_another_machine_or_pod(job: dict[str, str]) -> None:
    own = {"instance": "web1:8080", "pod": "shop-1", "namespace": "shop", **job}
    forged = {
        "exported_instance": "db1:9100",
        "exported_job": "node",
        "exported_pod": "etcd-0",
        "exported_namespace": "kube-system",
    }
    (found,) = stored({"__name__": "node_load1", **own, **forged})
    assert found.host == "web1"
    assert '"pod":"shop-1"' in found.labels
    (node,) = stored({"__name__": "kube_node_x", "node": "db1", **own})
    assert node.host == "web1"


def test_federated_series_are_those_that_came_directly() -> None:
    direct = {"__name__": "up", "instance": "web1:9100", "job": "node"}
    (first,), (second,) = (
        stored(direct),
        stored({"__name__": "up", **FEDERATED, "exported_instance": "web1:9100"}),
    )
    assert first == second


def test_a_pod_is_the_one_that_is_reported_on() -> None:
    reporting = {
        "namespace": "monitoring",
        "pod": "ksm-1",
        "node": "n9",
        "job": "kube-state-metrics",
    }
    about = {"exported_namespace": "shop", "exported_pod": "cart-1"}
    (found,) = stored({"__name__": "kube_pod_info", **reporting, **about})
    assert '"namespace":"shop"' in found.labels
    assert '"pod":"cart-1"' in found.labels
    assert "n9" not in found.labels


def test_the_state_of_a_node_is_the_nodes() -> None:
    told = {"instance": "10.0.0.1:8080", "job": "kube-state-metrics", "node": "n1"}
    (found,) = stored({"__name__": "kube_node_status_condition", **told})
    assert found.host == "n1"


@pytest.mark.parametrize("instance", ["localhost:9100", "127.0.0.1:9100", "[::1]:9100"])
@pytest.mark.parametrize("label", ["hostname", "nodename", "host", "node"])
def test_machines_that_call_themselves_localhost_are_told_apart(instance: str, label: str) -> None:
    series = [
        {"__name__": name, "instance": instance, "job": "node", label: machine}
        for machine in ("web1", "web2")
        for name in ("up", "node_load1", "own_metric")
    ]
    assert [each.host for each in stored(*series)] == ["web1"] * 3 + ["web2"] * 3


def test_the_name_in_one_series_alone_does_not_move_a_target() -> None:
    local = {"instance": "localhost:9100", "job": "node"}
    uname = {"__name__": "node_uname_info", "nodename": "web1", **local}
    assert {each.host for each in stored(uname, {"__name__": "up", **local})} == {"localhost"}


@pytest.mark.parametrize("instance", [r"SRV-01\SQLEXPRESS", r"\\srv-01\share\x", r"\\srv-01"])
def test_a_server_before_a_backslash_is_the_machine(instance: str) -> None:
    assert understood({"instance": instance}).host == "srv-01"


def test_a_pair_of_equal_senders_gives_each_series_once() -> None:
    series = [
        {"__name__": "m", "instance": "web1:9100", "job": "node", label: value}
        for label in ("prometheus_replica", "__replica__")
        for value in ("prometheus-0", "prometheus-1")
    ]
    assert len(set(stored(*series))) == 1


def test_what_is_told_of_a_cluster_outlives_a_rollout_of_who_tells_it() -> None:
    deployment = {"__name__": "kube_deployment_status_replicas", "deployment": "cart"}
    told = {"job": "kube-state-metrics", "namespace": "shop"}
    old, new = stored(
        {**deployment, **told, "instance": "10.42.7.31:8080"},
        {**deployment, **told, "instance": "10.42.9.12:8080"},
    )
    assert old == new
    assert old.host == "kube-state-metrics"
    (own,) = stored({"__name__": "up", **told, "instance": "10.42.7.31:8080"})
    assert own.host == "10.42.7.31"


def test_a_target_is_known_though_many_came_and_went_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "_MAX_TARGETS", 10)
    targets = Targets()
    lasting = {"__name__": "up", "job": "node", "instance": "a:1", "host": "lasting"}
    targets.note(lasting)
    for number in range(100):
        passing = lasting | {"instance": f"p{number}:1", "host": f"pod{number}"}
        assert targets.note(passing) == ("node", f"p{number}:1")
        assert targets.label(passing) == targets.label(lasting) == "host"
