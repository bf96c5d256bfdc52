"""Labels of series that came through a middleman: a federating Prometheus, a gateway, an exporter.

A Prometheus that is not told to honour a target's own labels (``honor_labels``) puts its own in
their place and keeps the target's as ``exported_…``: ``instance`` is then the middleman, and
``pod`` the pod that reports, not the one that is reported on. Here the target's own count, and
which of two equal Prometheis sent them does not.

Whatever is scraped could call itself another machine that way. So it is believed of jobs alone
whose name, which Prometheus' own configuration gives, says that they pass on what others measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.machine import is_loopback, is_target, known_machine

_OF_A_POD = ("namespace", "pod", "container", "node", "service")
"""Together: the namespace of one pod does not go with the name of another."""
_REPLICAS = {"__replica__", "prometheus_replica", "thanos_ruler_replica"}
"""The names by which the members of a highly available pair tell themselves apart."""
_OF_A_CLUSTER = re.compile(r"(.*[-_/])?kube-state-metrics")
"""Jobs that report on a whole cluster; their pod's address changes with each rollout."""
_MIDDLEMEN = re.compile(
    r"(.*[-_/])?(federat(e|ion)|push-?gateway|kube-state-metrics"
    r"|(collectd|dcgm|graphite|statsd)([-_]exporter)?)"
)
"""Jobs that pass on what others measured."""
_OF_HOSTS = re.compile(r"(.*[-_/])?collectd([-_]exporter)?")
"""The jobs of these whose ``instance`` is always a machine, however short its name is."""


def honored(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels with those in place that the target itself had.

    >>> here, there = {"instance": "prom:9090"}, {"exported_instance": "db1:9100"}
    >>> honored({**here, "job": "federate", **there, "exported_job": "node"})
    {'instance': 'db1:9100', 'job': 'node'}
    >>> honored({**here, "job": "shop", **there})["instance"]
    'prom:9090'
    """
    found = {name: value for name, value in labels.items() if name not in _REPLICAS}
    if not _MIDDLEMEN.fullmatch(labels.get("job", "")):
        return found
    own = {name for name in _OF_A_POD if found.get(f"exported_{name}")}
    if "exported_pod" in labels:
        # The node of the pod that reports is not known to be that of the other.
        found.pop("node", None)
    names = [*own, *(("instance", "job") if _is_elsewhere(labels) else ())]
    for name in names:
        value = found.pop(f"exported_{name}", "")
        if value:
            found[name] = value
    job, name = labels["job"], found.get("__name__", "kube_")
    if _OF_A_CLUSTER.fullmatch(job) and name.startswith("kube_"):
        found.pop("instance", "")
        # A node's own state is the node's.
        found["host"] = found.get("node", job) if name.startswith("kube_node_") else job
    return found


def _is_elsewhere(labels: Mapping[str, str]) -> bool:
    """Return whether ``exported_instance`` is another target and not a part of the scraped one."""
    text = labels.get("exported_instance", "")
    machine = known_machine(text) if text else None
    if machine is None or is_loopback(machine):
        return False
    if _OF_HOSTS.fullmatch(labels.get("job", "")):
        return True
    return bool(labels.get("exported_job")) or is_target(text) or "." in machine
