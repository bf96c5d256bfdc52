"""Tests of names that YAML would read as something else, and of names that Kubernetes refuses."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest

from tests.chart.helm import ChartError
from tests.chart.rendering import KUBERNETES, Manifest, render

_OPERATORS = ("monitoring.", "keda.", "gateway.networking.", "apiextensions.")
_VERSION = KUBERNETES.rpartition(".")[0]


def _named(odd: str) -> Manifest:
    """Every value that is a name, and may be this one."""
    return {
        "fullnameOverride": "ours",
        "broker": {"existingSecret": odd},
        "objectStore": {"existingSecret": odd, "bucket": "123"},
        "database": {"existingSecret": odd},
        "tokens": {"existingSecret": odd},
        "trust": {"certificates": "", "configMap": odd},
        "image": {"pullSecrets": [odd], "tag": odd, "registry": "", "repository": ""},
        "traces": {"headersSecret": odd},
        "pods": {"priorityClassName": odd},
        "client": {"oidcSecret": odd},
        "healer": {
            "smtpSecret": odd,
            "channelsSecret": odd,
            "remediations": {"kubernetes": {"namespaces": [odd]}},
        },
        "jobs": {
            "namespace": odd,
            "programImage": odd,
            "priorityClass": odd,
            "queue": odd,
            "projects": {"123": {"namespace": "456"}},
        },
        "tfjob": {"namespaces": [odd]},
        "ingress": {"className": odd, "host": odd, "tlsSecret": odd, "gatewayHost": f"*.{odd}"},
        "httpRoute": {"host": f"*.{odd}"},
    }


def _misread(value: Any, where: str) -> list[str]:
    """Keys, and the values of labels and of ConfigMaps, that are no text."""
    if isinstance(value, list):
        return [f for number, each in enumerate(value) for f in _misread(each, f"{where}.{number}")]
    if not isinstance(value, dict):
        return []
    found = [f"{where}.{key}" for key in value if not isinstance(key, str)]
    return [*found, *(f for key, each in value.items() for f in _misread(each, f"{where}.{key}"))]


def _faults(manifests: list[Manifest]) -> list[str]:
    found = []
    for manifest in manifests:
        found += _misread(manifest, manifest["kind"])
        if manifest["apiVersion"].startswith(_OPERATORS):
            continue
        try:
            kubernetes_validate.validate(manifest, _VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}")
    return found


@pytest.mark.parametrize("odd", ["123", "1e3", "true", "null", "0x1f"])
def test_a_name_stays_text_whatever_yaml_would_make_of_it(odd: str) -> None:
    assert not _faults(render("everything", _named(odd), "--namespace", "789", release=odd))


@pytest.mark.parametrize("odd", ["123", "1e3"])
def test_the_quickstarts_names_stay_text(odd: str) -> None:
    values = {"fullnameOverride": "ours", "quickstart": {"storageClass": odd}}
    assert not _faults(render("quickstart", values, "--namespace", odd, release=odd))


def test_a_value_ends_where_it_does() -> None:
    url, image = "http://a: b, {c} # d", "a\nBAROGRAPH_TASK_RUNTIME: local"
    values = {
        "objectStore": {"url": url, "publicUrl": url},
        "jobs": {"programImage": image},
        "nodeAgent": {"hostPaths": [{"path": "/a: b, type: File"}], "statePath": "/c, d: {e}"},
    }
    made = render("external", values)
    (told,) = [
        m["data"]
        for m in made
        if m["kind"] == "ConfigMap" and m["metadata"]["name"].endswith("-task")
    ]
    assert (told["BAROGRAPH_S3_URL"], told["BAROGRAPH_TASK_PROGRAM_IMAGE"]) == (url, image)
    assert told["BAROGRAPH_TASK_RUNTIME"] == "kubernetes"
    (agent,) = [m["spec"]["template"]["spec"] for m in made if m["kind"] == "DaemonSet"]
    paths = [each["hostPath"]["path"] for each in agent["volumes"] if "hostPath" in each]
    assert sorted(paths) == ["/a: b, type: File", "/c, d: {e}"]


def test_common_labels_change_no_label_that_selects_or_tells_the_release() -> None:
    own = {"app.kubernetes.io/component": "x", "app.kubernetes.io/managed-by": "y"}
    labels = own | {"a.example/b": "no", "c": "1"}
    plain = render("external")
    marked = render("external", {"commonLabels": labels})
    for before, after in zip(plain, marked, strict=True):
        was, now = before["metadata"]["labels"], after["metadata"]["labels"]
        assert now == {"a.example/b": "no", "c": "1"} | was


REFUSED: list[tuple[str, str, str]] = [
    ("my.release", "barograph", "set fullnameOverride"),
    ("1st", "barograph", "set fullnameOverride"),
    ("demo", "n" * 59, "set jobs.namespace"),
]


@pytest.mark.parametrize(("release", "namespace", "told"), REFUSED)
def test_a_name_that_kubernetes_refuses_is_told_with_the_value_that_helps(
    release: str, namespace: str, told: str
) -> None:
    with pytest.raises(ChartError, match=re.escape(told)):
        render("external", {}, "--namespace", namespace, release=release)


def test_the_longest_names_that_helm_knows_fit() -> None:
    release, namespace = "r" * 53, "n" * 58
    values = {"jobs": {"namespace": ""}}
    made = render("everything", values, "--namespace", namespace, release=release)
    assert not _faults(made)
    for manifest in made:
        labels = manifest["metadata"]["labels"].values()
        assert all(len(value) <= 63 for value in labels)
        if manifest["kind"] == "Service":
            assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
