"""The placement of a TFJob's pods, as ``scheduling`` of a job."""

from __future__ import annotations

from typing import Any

from shared.tfjob import advice
from shared.tfjob.branch import Branch, Findings

_GPU_LABEL = "nvidia.com/gpu.product"


def scheduling(pod: Branch, findings: Findings) -> tuple[dict[str, Any], str | None]:
    """The fields of ``scheduling``, and the GPU model that the node selector asks for."""
    selector = pod.branch("nodeSelector")
    model = selector.take(_GPU_LABEL, str)
    labels = {key: selector.take(key, str) for key in selector.names()}
    found = {
        "node_selector": {key: value for key, value in labels.items() if value is not None},
        **_affinity(pod.branch("affinity"), findings),
        "tolerations": [
            found for each in pod.branches("tolerations") if (found := _toleration(each, findings))
        ],
        "topology_spread": [
            _spread(each, findings) for each in pod.branches("topologySpreadConstraints")
        ],
        "runtime_class": pod.take("runtimeClassName", str),
    }
    return {name: value for name, value in found.items() if value}, model


def _affinity(affinity: Branch, findings: Findings) -> dict[str, Any]:
    nodes = affinity.branch("nodeAffinity")
    required = nodes.branch("requiredDuringSchedulingIgnoredDuringExecution")
    terms = [_term(each, findings) for each in required.branches("nodeSelectorTerms")]
    required.close()
    preferred = []
    for each in nodes.branches("preferredDuringSchedulingIgnoredDuringExecution"):
        weight, term = each.take("weight", int), each.branch("preference")
        preferred.append(_term(term, findings) | ({} if weight is None else {"weight": weight}))
        each.close()
    nodes.close()
    affinity.close(advice.AFFINITY)
    return {"node_terms": terms, "preferred_nodes": preferred}


def _term(term: Branch, findings: Findings) -> dict[str, Any]:
    expressions = []
    for each in term.branches("matchExpressions"):
        values = each.take("values", list) or []
        if any(not isinstance(value, str) for value in values):
            findings.fault(each.at("values"), "every value must be a string; put it in quotes")
        expressions.append(
            {
                "key": each.take("key", str) or "",
                "operator": each.take("operator", str) or "",
                "values": [str(value) for value in values],
            }
        )
        each.close()
    term.close(advice.NODE_TERM)
    if not expressions:
        findings.missing(term.at("matchExpressions"), "needs at least one expression")
    return {"expressions": expressions}


def _toleration(toleration: Branch, findings: Findings) -> dict[str, Any]:
    key = toleration.take("key", str)
    if not key:
        findings.unsupported(toleration.path, advice.ANY_TAINT)
    found = {
        "key": key,
        "operator": toleration.take("operator", str) or "Equal",
        "value": toleration.take("value", str),
        "effect": toleration.take("effect", str),
        "seconds": toleration.take("tolerationSeconds", int),
    }
    toleration.close()
    return {name: value for name, value in found.items() if value not in (None, "")} if key else {}


def _spread(spread: Branch, findings: Findings) -> dict[str, Any]:
    if spread.any("labelSelector"):
        findings.note(spread.at("labelSelector"), advice.SPREAD_SELECTOR)
    spread.any("matchLabelKeys")
    found = {
        "topology_key": spread.take("topologyKey", str) or "",
        "max_skew": spread.take("maxSkew", int),
        "when_unsatisfiable": spread.take("whenUnsatisfiable", str) or "DoNotSchedule",
        "min_domains": spread.take("minDomains", int),
    }
    spread.close()
    return {name: value for name, value in found.items() if value is not None}
