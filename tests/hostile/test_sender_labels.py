"""The machine of series as many senders label them: one machine each, whoever sends."""

from __future__ import annotations

import pytest

from services.detector.gateway.names import Understood, named

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
        ({"node": "n1", "namespace": "shop", "pod": "cart-1"}, "n1"),
        ({"instance": "10.0.0.1:10250", "node": "n1", "pod": "p"}, "10.0.0.1"),
        ({"instance": "Rack 7 (left)", "hostname": "web1"}, "web1"),
        ({"instance": "redis://db1:6379", "addr": "redis://db1:6379"}, "db1"),
        ({"instance": "https://example.com", "job": "blackbox"}, "example.com"),
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
