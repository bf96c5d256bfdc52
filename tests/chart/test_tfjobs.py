"""TFJobs are a door that is shut unless somebody opens it."""

from __future__ import annotations

import json

import pytest

from tests.chart.rendering import Manifest, named, render

_KIND = "CustomResourceDefinition"


def kinds(values: Manifest) -> list[Manifest]:
    return [each for each in render(values=values) if each["kind"] == _KIND]


def watched(values: Manifest) -> list[str] | None:
    """The namespaces the task service is told to watch; None: it is told of none."""
    for each in render(values=values):
        name = "BAROGRAPH_TASK_TFJOB_NAMESPACES"
        if each["kind"] == "ConfigMap" and name in (each.get("data") or {}):
            found: list[str] = json.loads(each["data"][name])
            return found
    return None


@pytest.mark.parametrize("more", [{}, {"namespaces": ["a"], "installCRD": True}])
def test_without_the_switch_there_is_nothing_of_it(more: Manifest) -> None:
    assert "tfjob" not in json.dumps(render(values={"tfjob": more})).lower()


def test_the_jobs_namespace_is_watched_where_none_is_named() -> None:
    assert watched({"tfjob": {"enabled": True}}) == ["barograph-jobs"]
    assert watched({"tfjob": {"enabled": True, "namespaces": ["a", "b"]}}) == ["a", "b"]


def test_the_kind_is_installed_only_by_flag_and_never_deleted_with_the_release() -> None:
    assert kinds({"tfjob": {"enabled": True}}) == []
    (kind,) = kinds({"tfjob": {"enabled": True, "installCRD": True}})
    assert kind["metadata"]["name"] == "tfjobs.kubeflow.org"
    assert kind["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_unless_others_are_named_the_tfjobs_of_every_namespace_of_jobs_are_run() -> None:
    values = {
        "tfjob": {"enabled": True},
        "jobs": {"projects": {"vision": {"namespace": "team-vision"}}},
    }
    manifests = render("external", values)
    told = named(manifests, "ConfigMap", "task")["data"]["BAROGRAPH_TASK_TFJOB_NAMESPACES"]
    assert json.loads(told) == ["barograph-jobs", "team-vision"]
    roles = [m for m in manifests if m["kind"] == "Role" and "tfjobs" in m["metadata"]["name"]]
    assert {role["metadata"]["namespace"] for role in roles} == {"barograph-jobs", "team-vision"}
