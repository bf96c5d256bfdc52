"""The chart as a whole: helm accepts it, and it renders what it rendered when last looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.chart.helm import ChartError, helm
from tests.chart.rendering import CHART, KUBERNETES, SCENARIOS, named, render
from tests.chart.renew import GOLDEN, SCHEMA, golden, renewed_schema


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_helm_finds_nothing_to_complain_about(scenario: str) -> None:
    values = str(CHART / f"ci/{scenario}-values.yaml")

    said = helm("lint", str(CHART), "--strict", "--kube-version", KUBERNETES, "--values", values)

    assert "0 chart(s) failed" in said


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_manifests_are_the_golden_ones(scenario: str) -> None:
    assert golden(scenario) == (GOLDEN / f"{scenario}.yaml").read_text(), (
        "look at what changed, then run `python -m tests.chart.renew`"
    )


def test_there_is_a_golden_file_for_each_scenario_and_no_other() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*")) == SCENARIOS


def test_the_schema_knows_the_settings_the_services_know() -> None:
    assert renewed_schema() == SCHEMA.read_text(), "run `python -m tests.chart.renew`"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_two_objects_have_the_same_name(scenario: str) -> None:
    seen = [
        (m["apiVersion"], m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"])
        for m in render(scenario)
    ]

    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_object_names_its_namespace_and_carries_the_standard_labels(scenario: str) -> None:
    roles = {"ClusterRole", "ClusterRoleBinding"}
    whole_cluster = {"Namespace", "CustomResourceDefinition", *roles}
    wanted = {"name", "instance", "component", "managed-by", "version"}
    for manifest in render(scenario):
        metadata = manifest["metadata"]
        assert ("namespace" in metadata) == (manifest["kind"] not in whole_cluster), metadata
        assert {f"app.kubernetes.io/{each}" for each in wanted} <= set(metadata["labels"]), metadata


def test_the_chart_is_of_the_version_of_the_code() -> None:
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert f'version = "{chart["appVersion"]}"' in project


def test_an_older_kubernetes_is_refused() -> None:
    values = str(CHART / "ci/external-values.yaml")

    with pytest.raises(ChartError, match=r"incompatible with Kubernetes v1\.30"):
        helm("template", "demo", str(CHART), "--kube-version", "1.30.9", "--values", values)


def test_changed_settings_start_the_service_anew_and_only_that_one() -> None:
    def checksums(**values: dict[str, object]) -> dict[str, str]:
        return {
            m["metadata"]["name"]: m["spec"]["template"]["metadata"]["annotations"][
                "checksum/settings"
            ]
            for m in render(values=values)
            if m["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}
        }

    before = checksums()
    after = checksums(healer={"settings": {"mail_to": "night@example.com"}})

    assert [name for name in before if before[name] != after[name]] == ["demo-barograph-healer"]


def test_a_release_named_like_the_chart_does_not_stutter() -> None:
    values = str(CHART / "ci/external-values.yaml")
    text = helm(
        "template", "barograph", str(CHART), "--kube-version", KUBERNETES, "--values", values
    )

    named([m for m in yaml.safe_load_all(text) if m], "Deployment", "task")
    assert "barograph-barograph" not in text


def test_the_notes_say_what_uninstalling_keeps(tmp_path: Path) -> None:
    text = notes(tmp_path, "quickstart")
    assert "It keeps:" in text
    assert "demo-barograph-quickstart-passwords" in text
    assert "stops the jobs that run" in text
    assert "your broker, object store and database" in notes(tmp_path, "external")


def notes(directory: Path, scenario: str) -> str:
    """Return helm's notes after an install; `helm template` shows them only within an object."""
    copy = directory / scenario
    for path in CHART.rglob("*"):
        if path.is_file() and path.name != "NOTES.txt":
            (copy / path.relative_to(CHART)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(CHART)).write_bytes(path.read_bytes())
    source = (CHART / "templates/NOTES.txt").read_text()
    (copy / "templates/_notes.tpl").write_text(f'{{{{ define "notes" }}}}{source}{{{{ end }}}}')
    (copy / "templates/notes.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x-notes}\n"
        'data:\n  text: |\n    {{- include "notes" . | nindent 4 }}\n'
    )
    text: str = named(render(scenario, None, chart=copy), "ConfigMap", "notes")["data"]["text"]
    return text
